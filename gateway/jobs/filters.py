"""What a list of jobs is narrowed down to, as users write it: a label, an image, a place to go on from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import AppCode, GatewayError
from gateway.images.names import DEFAULT_TAG, parse_image

START = "start"
_CURSOR = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?", re.ASCII)
_MOST_LABELS = 64


@dataclass(frozen=True)
class Narrow:
    """What narrows a list of jobs down, but for whose they are, where, when and in which state.

    `cursor` is None for the list by the last update, else the id that the page is below, 0 for the first one.
    """

    name: str | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    image: tuple[str, str | None, str | None] | None = None
    cursor: int | None = None
    shared: bool = False


EVERYTHING = Narrow()


def read_label(text: str) -> tuple[str, str | None]:
    """Read `key` (with any value) or `key=value`.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER.
    """
    key, sign, value = text.partition("=")
    if not _KEY.fullmatch(key):
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"label: {text[:100]!r} is no label; write key or key=value, with a key of 1 to 63 letters, digits and _ . / -",
        )
    return key, value if sign else None


def read_labels(texts: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """Read several, each once.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER.
    """
    if len(texts) > _MOST_LABELS:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"label: a job has at most {_MOST_LABELS} labels; ask for fewer than {len(texts)}",
        )
    return tuple(dict.fromkeys(read_label(text) for text in texts))


def read_image(text: str) -> tuple[str, str | None, str | None]:
    """Read an image as users write it, into (name, tag, digest); a tag is meant only where one is written.

    Raises
    ------
    GatewayError
        IMAGE_NAME_PARSE.
    """
    name = parse_image(text)
    written = text.strip().partition("@")[0].endswith(f":{DEFAULT_TAG}")
    tag = None if name.tag == DEFAULT_TAG and not written else name.tag
    return name.name, tag, name.digest


def read_cursor(text: str) -> int:
    """Read `start`, or the `next` of the page before.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER.
    """
    if text == START:
        return 0
    if not _CURSOR.fullmatch(text):
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"cursor: {text[:100]!r} is no cursor; write {START}, or what the page before has as next",
        )
    return int(text)
