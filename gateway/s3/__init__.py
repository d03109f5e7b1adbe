"""The object store: paths, metadata, grants."""
