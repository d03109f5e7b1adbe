"""Moving objects between the node and S3: HTTP, hashing, downloads, uploads."""
