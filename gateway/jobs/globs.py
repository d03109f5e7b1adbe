"""Patterns of objects, as a shell has them for files: `bucket/reads/*.fq`, where `*` and `?` stand for no slash."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from gateway.s3.paths import S3Path, parse_object

_WILD = re.compile(r"[*?\[]")


def is_glob(text: str) -> bool:
    """Whether a path has a wildcard."""
    return _WILD.search(text) is not None


def parse_glob(text: str) -> S3Path:
    """Read a pattern; its bucket has no wildcard.

    Raises
    ------
    GatewayError
        ILLEGAL_S3_PATH.
    """
    return parse_object(text)


def fixed_prefix(pattern: S3Path) -> str:
    """Return what all keys that match begin with: all before the first wildcard."""
    return _WILD.split(pattern.key, maxsplit=1)[0]


def directory(pattern: S3Path) -> S3Path:
    """Return the innermost prefix that holds all that match."""
    folder, slash, _ = fixed_prefix(pattern).rpartition("/")
    return S3Path(pattern.bucket, folder + slash)


def matcher(pattern: S3Path) -> Callable[[str], bool]:
    """Return what tells whether a key matches, segment by segment."""
    segments = [re.compile(fnmatch.translate(part)) for part in pattern.key.split("/")]

    def matches(key: str) -> bool:
        parts = key.split("/")
        return len(parts) == len(segments) and all(
            segment.match(part) for segment, part in zip(segments, parts, strict=True)
        )

    return matches
