"""Reading a tar archive as a stream, member by member (POSIX.1-2001 pax, ustar, GNU and V7 headers).

The standard library's tarfile keeps every member in memory, reads headers of any length, takes a broken
header for the end, and had holes in the versions that nodes have. What is needed is little, and here it is
bounded: an archive that is cut off, broken or odd is refused, never unpacked by half.
"""

from __future__ import annotations

from typing import Dict, Iterator, Optional, Protocol, Tuple

from .tree import Member, Refused

BLOCK = 512
_CHUNK = 1 << 20
_MOST_HEADER = 1 << 20  # bytes of a pax header or a long name
_MOST_EXTENSIONS = 8  # headers before one member
_ZEROS = bytes(BLOCK)
_KINDS = {
    b"\0": "file", b"0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory",
    b"3": "a character device", b"4": "a block device", b"6": "a FIFO",
    b"S": "a sparse file (pack it without --sparse)", b"M": "a part of a multi-volume archive",
    b"D": "a directory of an incremental archive",
}  # fmt: skip
_HAVE_DATA = (b"\0", b"0", b"7")


class Source(Protocol):
    """A stream of bytes."""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""


class Tar:
    """The members of an archive, each with its content, which is read before the next member is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0  # bytes read so far
        self._left = 0  # of the present member, padding included

    def __iter__(self) -> Iterator[Tuple[Member, Iterator[bytes]]]:
        """Yield the members.

        Raises
        ------
        Refused
            When the archive is broken.
        """
        while True:
            found = self._member()
            if found is None:
                return
            member, padded = found
            self._left = padded
            yield member, self._content(member.size if padded else 0)
            while self._left:
                self._left -= len(self._exactly(min(self._left, _CHUNK)))

    def _member(self) -> Optional[Tuple[Member, int]]:
        """Read the headers of the next member; return it and how many bytes follow."""
        given: Dict[str, bytes] = {}
        for _ in range(_MOST_EXTENSIONS):
            block = self._block(last=not given)
            if block is None or block == _ZEROS:
                if given:
                    raise Refused(
                        f"the archive is broken: a header without a member at byte {self._at}"
                    )
                return None
            self._check(block)
            kind, size = block[156:157], self._number(block[124:136])
            if kind in (b"x", b"X"):
                given.update(_pax(self._extension(size)))
            elif kind == b"g":
                self._extension(size)  # comments and times, as git writes them
            elif kind == b"L":
                given["path"] = self._extension(size).partition(b"\0")[0]
            elif kind == b"K":
                given["linkpath"] = self._extension(size).partition(b"\0")[0]
            elif kind != b"V":  # a volume's label
                return self._made(block, kind, size, given)
        raise Refused(f"the archive is broken: too many headers at byte {self._at}")

    def _made(
        self, block: bytes, kind: bytes, size: int, given: Dict[str, bytes]
    ) -> Tuple[Member, int]:
        name = _text(block[0:100])
        if block[257:265] == b"ustar\x0000" and block[345] != 0:
            name = _text(block[345:500]) + b"/" + name
        name = given.get("path", name)
        word = _KINDS.get(kind, f"of the unknown type {kind!r}")
        if kind in (b"\0", b"0") and name.endswith(b"/"):  # as before POSIX
            word = "directory"
        if any(key.startswith("GNU.sparse.") for key in given):
            word = _KINDS[b"S"]
        if "size" in given:
            size = self._decimal(given["size"])
        if kind not in _HAVE_DATA:
            size = 0
        target = given.get("linkpath", _text(block[157:257]))
        mode = self._number(block[100:108])
        return Member(name, word, size, mode, target), -(-size // BLOCK) * BLOCK

    def _content(self, size: int) -> Iterator[bytes]:
        while size > 0:
            data = self._exactly(min(size, _CHUNK))
            self._left -= len(data)
            size -= len(data)
            yield data

    def _extension(self, size: int) -> bytes:
        if size > _MOST_HEADER:
            raise Refused(f"the archive has a header of {size} bytes at byte {self._at}")
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        return data

    def _block(self, *, last: bool) -> Optional[bytes]:
        block = self._some(BLOCK)
        if not block and last and self._at:
            return None
        if len(block) < BLOCK:
            raise self._cut_off()
        return block

    def _exactly(self, size: int) -> bytes:
        data = self._some(size)
        if len(data) < size:
            raise self._cut_off()
        return data

    def _some(self, size: int) -> bytes:
        pieces = []
        while size > 0:
            data = self._source.read(size)
            if not data:
                break
            pieces.append(data)
            size -= len(data)
            self._at += len(data)
        return b"".join(pieces)

    def _cut_off(self) -> Refused:
        return Refused(f"the archive is cut off after {self._at} bytes")

    def _check(self, block: bytes) -> None:
        rest = block[:148] + b" " * 8 + block[156:]
        signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
        if self._number(block[148:156]) not in (sum(rest), signed):
            if self._at == BLOCK:
                raise Refused("it is no tar archive")
            raise Refused(f"the archive is broken: no header at byte {self._at - BLOCK}")

    def _number(self, field: bytes) -> int:
        """Read a number: octal digits, or base 256 with the first bit set (GNU, star)."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        digits = field.replace(b"\0", b" ").strip()
        if not digits:
            return 0
        if not all(byte in b"01234567" for byte in digits):
            raise Refused(
                f"the archive is broken: {digits[:12]!r} is no number, at byte {self._at}"
            )
        return int(digits, 8)

    def _decimal(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise Refused(f"the archive is broken: {digits[:20]!r} is no size, at byte {self._at}")
        return int(digits)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _pax(data: bytes) -> Dict[str, bytes]:
    """Read the records of a pax header: `length key=value` and a line's end each."""
    found: Dict[str, bytes] = {}
    while data:
        digits, space, _ = data[:24].partition(b" ")
        if not space or not digits.isdigit():
            raise Refused("the archive is broken: a pax header without a length")
        length = int(digits)
        record = data[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if length > len(data) or record[-1:] != b"\n" or not equals:
            raise Refused("the archive is broken: a pax header whose length is wrong")
        found[key.decode("utf-8", "replace")] = value
        data = data[length:]
    return found
