"""Reference data: registration, what is known of it at each site, and which images and jobs have it."""
