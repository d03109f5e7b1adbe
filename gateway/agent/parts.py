"""In which parts a file is uploaded: the daemon has the same rule (gateway/s3/parts.py), and both reckon by themselves."""

from __future__ import annotations

from typing import List

MOST_PARTS = 10_000  # of S3
MOST_BYTES = 5 << 40  # of an object, of S3
_STEP = 1 << 20


def part_size_for(size: int, usual: int) -> int:
    """Return how many bytes each part of a file of `size` bytes has, but the last: the usual, or whole MiB for a very large one."""
    least = -(-size // MOST_PARTS)
    return usual if least <= usual else -(-least // _STEP) * _STEP


def cut(size: int, usual: int) -> List[int]:
    """Return the sizes of the parts of a file, in order."""
    part = part_size_for(size, usual)
    return [min(part, size - at) for at in range(0, size, part)]
