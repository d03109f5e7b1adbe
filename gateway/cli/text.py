"""What the commands print: tables, JSON, times and sizes, and others' text made harmless to a terminal."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from pydantic import BaseModel


def clean(value: object) -> str:
    """Return text that cannot steer a terminal: control characters are shown as `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


# All but tabs, ends of lines and colours: other sequences of ECMA-48, the controls of C0 and C1, and the marks that
# turn the direction of text around.
_STEERING = re.compile(
    "\x1b(?!\\[[0-9;]{0,30}m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_BEGUN = re.compile("\x1b(\\[[0-9;]{0,30})?$")


class LogCleaner:
    """Makes a log harmless to a terminal, piece by piece; a sequence may lie over the seam of two pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.coloured = False

    def add(self, piece: bytes, *, last: bool = False) -> str:
        """Return what can be printed now: lines, tabs and colours stay, what else steers a terminal becomes `?`."""
        text = self._held + self._decoder.decode(piece, last)
        self._held = ""
        begun = None if last else _BEGUN.search(text)
        if begun is not None:
            text, self._held = text[: begun.start()], text[begun.start() :]
        cleaned = _STEERING.sub("?", text)
        self.coloured = self.coloured or "\x1b" in cleaned
        return cleaned


def write_log(pieces: Iterable[bytes]) -> None:
    """Print a log: as it is into pipes and files, harmless to a terminal."""
    out = sys.stdout.buffer
    if not sys.stdout.isatty():
        for piece in pieces:
            out.write(piece)
            out.flush()
        return
    cleaner = LogCleaner()
    try:
        for piece in pieces:
            out.write(cleaner.add(piece).encode())
            out.flush()
    finally:
        out.write(cleaner.add(b"", last=True).encode() + (b"\x1b[0m" if cleaner.coloured else b""))
        out.flush()


def print_json(value: Any) -> None:
    """Print models or plain values as JSON, in ASCII."""
    typer.echo(json.dumps(_plain(value), indent=1))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, header: bool = True) -> None:
    """Print aligned columns; the last one is not padded."""
    lines = [[clean("" if cell is None else cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(line[n]) for line in lines)]) for n, title in enumerate(head)]
    for line in ([list(head)] if header else []) + lines:
        typer.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def fields(lines: Iterable[tuple[str, object]], width: int = 9) -> None:
    """Print a line a field, without the empty ones."""
    for title, value in lines:
        if value not in ("", None):
            typer.echo(f"{title:<{width}} {clean(value)}")


def local(time: datetime, precision: str = "seconds") -> str:
    """Write a time as the user's clock has it, with the zone left out as Slurm's commands do."""
    return time.astimezone().replace(tzinfo=None).isoformat(timespec=precision)


def local_iso(text: str | None) -> str:
    """Write a time of ISO 8601 as `local` does; empty for None, as it is where it is no such time."""
    if text is None:
        return ""
    try:
        return local(datetime.fromisoformat(text), "milliseconds")
    except ValueError:
        return text


def duration(seconds: float | None) -> str:
    """Write seconds as Slurm does: `[D-]HH:MM:SS`; empty for None."""
    if seconds is None:
        return ""
    days, rest = divmod(int(seconds), 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def size(count: float | None) -> str:
    """Write bytes with Slurm's letters, powers of 1024; empty for None."""
    if count is None:
        return ""
    for letter in ("", "K", "M", "G", "T"):
        if count < 1024 or letter == "T":
            return f"{count:.0f}" if not letter else f"{count:.2f}{letter}"
        count /= 1024
    return ""
