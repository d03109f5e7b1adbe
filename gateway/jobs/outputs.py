"""Where in S3 a container writes."""

from __future__ import annotations


def container_dir(output_dir: str, number: int, *, declobber: bool) -> str:
    """Return the prefix, ending in a slash, of a container's outputs: the job's, or with `declobber` its number below that."""
    return f"{output_dir}{number}/" if declobber else output_dir
