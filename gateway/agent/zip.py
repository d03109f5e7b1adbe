"""Reading a zip archive by its central directory (PKWARE APPNOTE 6.3), one entry at a time.

The standard library's zipfile makes an object of some 600 bytes for each entry before anything can be
bounded; this reads one entry after the other, whatever their number.
"""

from __future__ import annotations

import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Tuple

from .tree import MOST_NAME, Member, Refused

_CHUNK = 1 << 18
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_UNIX = 3
_FULL = 0xFFFFFFFF
_KINDS = {
    0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device", stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    made_by: int
    attributes: int
    offset: int


class Zip:
    """The members of an archive, each with its content."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Tuple[Member, Iterator[bytes]]]:
        """Yield the members.

        Raises
        ------
        Refused
            When the archive is broken, encrypted, or packed in a way that is not known here.
        """
        with self._path.open("rb") as file, self._path.open("rb") as data:
            begin, size, shift = _directory(file)
            file.seek(begin)
            left = size
            while left > 0:
                entry, used = _entry(file)
                left -= used
                yield _member(entry, data, shift), _content(entry, data, shift)


def _broken(what: str) -> Refused:
    return Refused(f"the archive is broken: {what}")


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _broken("it ends too early")
    return data


def _directory(file: BinaryIO) -> Tuple[int, int, int]:
    """Find the central directory: where it begins, its bytes, and what all offsets are short of."""
    whole = file.seek(0, 2)
    tail_at = max(0, whole - _END.size - 0xFFFF)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise Refused("it is no zip archive, or cut off")
    _, disk, _, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if end >= _LOCATOR.size + _END64.size:
        file.seek(end - _LOCATOR.size)
        mark, _, where, disks = _LOCATOR.unpack(_read(file, _LOCATOR.size))
        if mark == b"PK\6\7":
            # What precedes the archive (a program that unpacks itself) moves it: then look before the locator.
            for place in (where, end - _LOCATOR.size - _END64.size):
                if 0 <= place <= end - _END64.size:
                    file.seek(place)
                    fields = _END64.unpack(_read(file, _END64.size))
                    if fields[0] == b"PK\6\6":
                        size, offset, end = fields[8], fields[9], place
                        break
            else:
                raise _broken("its zip64 directory is not there")
            disk = 0 if disks <= 1 else 1
    if disk != 0:
        raise Refused("the archive is a part of a split zip; put the parts together first")
    begin = end - size
    if begin < 0 or begin < offset:
        raise _broken("its directory is not where it says")
    return begin, size, begin - offset


def _entry(file: BinaryIO) -> Tuple[_Entry, int]:
    fields = _ENTRY.unpack(_read(file, _ENTRY.size))
    (mark, made_by, _, flags, method, _, _, crc, packed, size) = fields[:10]
    name_size, extra_size, comment_size, _, _, attributes, offset = fields[10:]
    if mark != b"PK\1\2":
        raise _broken("an entry of its directory is none")
    if name_size > MOST_NAME:
        raise Refused(f"the archive has a name of {name_size} bytes, {MOST_NAME} are taken")
    name = _read(file, name_size)
    extra = _read(file, extra_size)
    _read(file, comment_size)
    wide = _wide(extra)
    values = []
    for value in (size, packed, offset):
        if value != _FULL or not wide:
            values.append(value)
            continue
        if len(wide) < 8:
            raise _broken("a zip64 field is cut off")
        values.append(struct.unpack_from("<Q", wide)[0])
        wide = wide[8:]
    size, packed, offset = values
    used = _ENTRY.size + name_size + extra_size + comment_size
    return (
        _Entry(name, flags, method, crc, packed, size, made_by >> 8, attributes, offset),
        used,
    )


def _wide(extra: bytes) -> bytes:
    """Return the zip64 field of an entry's extra fields."""
    while len(extra) >= 4:
        tag, size = struct.unpack_from("<2H", extra)
        if tag == 1:
            return extra[4 : 4 + size]
        extra = extra[4 + size :]
    return b""


def _member(entry: _Entry, data: BinaryIO, shift: int) -> Member:
    mode = entry.attributes >> 16 if entry.made_by == _UNIX else 0
    kind = _KINDS.get(stat.S_IFMT(mode), "of an unknown type")
    if kind == "file" and entry.name.endswith(b"/"):
        kind = "directory"
    if entry.flags & 1 and kind != "directory":
        kind = "encrypted"
    target = b""
    if kind == "symlink":
        if entry.size > MOST_NAME:
            kind = f"a link with a target of {entry.size} bytes"
        else:
            target = b"".join(_content(entry, data, shift))
    return Member(entry.name, kind, entry.size, mode, target)


def _content(entry: _Entry, data: BinaryIO, shift: int) -> Iterator[bytes]:
    """Yield the bytes of an entry, never more than it says it has; its CRC is checked at the end."""
    what = f"the member {entry.name.decode('utf-8', 'backslashreplace')[:200]!r}"
    if entry.method not in (_STORED, _DEFLATED):
        raise Refused(
            f"{what} is packed by method {entry.method}; only stored and deflated are known here"
        )
    data.seek(entry.offset + shift)
    fields = _LOCAL.unpack(_read(data, _LOCAL.size))
    if fields[0] != b"PK\3\4":
        raise _broken(f"{what} is not where its directory says")
    data.seek(fields[9] + fields[10], 1)
    crc, total = 0, 0
    for piece in _unpacked(entry, data, what):
        total += len(piece)
        if total > entry.size:
            raise _broken(f"{what} has more than the {entry.size} bytes that it says")
        crc = zlib.crc32(piece, crc)
        yield piece
    if total != entry.size or crc != entry.crc:
        raise _broken(f"size or CRC of {what} is wrong")


def _unpacked(entry: _Entry, data: BinaryIO, what: str) -> Iterator[bytes]:
    left = entry.packed
    inflate = zlib.decompressobj(-15)
    while left > 0:
        packed = _read(data, min(left, _CHUNK))
        left -= len(packed)
        if entry.method == _STORED:
            yield packed
            continue
        try:
            while packed and not inflate.eof:
                yield inflate.decompress(packed, 4 * _CHUNK)
                packed = inflate.unconsumed_tail
            if inflate.eof:
                return
        except zlib.error as exc:
            raise _broken(f"{what}: {exc}") from exc
    yield inflate.flush()
