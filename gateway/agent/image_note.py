"""Whether a SIF file is what was converted: looked at each time it is used, by a note that was made then.

The note says size, time and SHA-256. Size and time are compared at each use, which costs two small reads: they tell of a file that
was cut, or written again. All of it is read only where the time alone is another (a copy, a restored backup), once for all
nodes, under the lease; or when an admin asks for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from enum import Enum
from pathlib import Path
from typing import Optional

from .files import ContractError, Say, read_fields, write_json
from .mailbox import Stop

_PIECE = 1 << 20
_USED = 60.0  # seconds: so often a use is written down at most
# The header of a SIF file: after a line that starts it as a program come its magic, and numbers that say how far its data goes.
_MAGIC = b"SIF_MAGIC\0"
_AT, _DATA, _HEADER = 32, 112, 128  # bytes from its begin


class Found(Enum):
    """What a look at a SIF file gives."""

    GOOD = "as its note says"
    MISSING = "not there"
    UNKNOWN = "there, and to be looked at whole"
    WRONG = "not what was converted"


def note_path(sif: Path) -> Path:
    """Return where the note of a SIF file is."""
    return sif.parent / "notes" / f"{sif.stem}.json"


def look(sif: Path) -> Found:
    """Compare a SIF file with its note, and write down that it was used: in its time of access, which nothing else needs.

    The file is opened, since over NFS that is what makes its size and time those that the server has.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    try:
        fd = os.open(sif, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Found.MISSING
    try:
        found = os.fstat(fd)
        try:
            note = read_fields(note_path(sif))
            size, changed = note.whole("size"), note.whole("mtime")
        except (FileNotFoundError, ContractError):
            return Found.UNKNOWN
        if found.st_size != size:
            return Found.WRONG
        if int(found.st_mtime) != changed:
            return Found.UNKNOWN
        now = time.time_ns()
        if abs(now - found.st_atime_ns) > _USED * 1e9:
            with contextlib.suppress(OSError):  # a cache that others fill
                os.utime(fd, ns=(now, found.st_mtime_ns))
        return Found.GOOD
    finally:
        os.close(fd)


def write_note(sif: Path, reference: str, digest: str) -> None:
    """Note what a SIF file is now; `digest` is the SHA-256 of all of it, hexadecimal."""
    found = sif.stat()
    path = note_path(sif)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    note = {"version": 1, "reference": reference, "size": found.st_size,
            "mtime": int(found.st_mtime), "sha256": digest}  # fmt: skip
    write_json(path, note)


def settle(sif: Path, reference: str, stop: Stop, say: Say) -> Found:
    """Decide, under the lease, of a file that a look did not find good: GOOD with a note anew, or MISSING once it is set aside.

    One without a note, of an earlier release or of an agent that died in between, is taken when its header says that it is whole.

    Raises
    ------
    Stopped, OSError
        As `look`, and when an end was asked for.
    """
    found = look(sif)
    if found is Found.UNKNOWN:
        digest = sha256(sif, stop)
        noted = _noted(sif)
        if noted == digest or (noted is None and whole(sif)):
            write_note(sif, reference, digest)
            return Found.GOOD
        found = Found.WRONG
    if found is Found.WRONG:
        aside = sif.with_name(f".{sif.name}.bad-{time.time_ns()}")
        # Not removed: what runs from it goes on, and an admin may want to see it.
        sif.replace(aside)
        say(
            f"image: {sif.name} is not what was converted; it is set aside as {aside.name} and made again"
        )
        found = Found.MISSING
    if found is Found.MISSING:
        note_path(sif).unlink(missing_ok=True)  # it shall not speak of the next
    return found


def _noted(sif: Path) -> Optional[str]:
    try:
        return read_fields(note_path(sif)).text("sha256")
    except (FileNotFoundError, ContractError):
        return None


def sha256(path: Path, stop: Stop) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises
    ------
    Stopped, OSError
        When an end was asked for, or it cannot be read.
    """
    import hashlib  # noqa: PLC0415 - seldom wanted, and slow to import

    digest = hashlib.sha256()
    buffer = bytearray(_PIECE)
    with path.open("rb", buffering=0) as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                return digest.hexdigest()
            digest.update(memoryview(buffer)[:count])
            stop.check()


def whole(sif: Path) -> bool:
    """Tell whether a file has the header of a SIF, and all the data that this speaks of."""
    with sif.open("rb") as file:
        head = file.read(_HEADER)
        size = os.fstat(file.fileno()).st_size
    if len(head) < _HEADER or head[_AT : _AT + len(_MAGIC)] != _MAGIC:
        return False
    begin, length = (int.from_bytes(head[at : at + 8], "little") for at in (_DATA, _DATA + 8))
    return size >= begin + length
