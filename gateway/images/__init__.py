"""Container images: names, look-ups, approval."""
