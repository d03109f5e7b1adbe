"""Archives as people make them, and as attackers do."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 512


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> Any:
    """A member of a tar archive and its content."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(*members: Any, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of members, in order and without any judgement."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def header(name: bytes, size: int = 0, kind: bytes = b"0", target: bytes = b"") -> bytes:
    """One block of a tar archive, with any bytes in its fields."""
    number = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    block = bytearray(
        name.ljust(100, b"\0")
        + b"0000644\0" + b"0000000\0" * 2 + number + b"00000000000\0" + b" " * 8 + kind
        + target.ljust(100, b"\0") + b"ustar\x0000"
    ).ljust(BLOCK, b"\0")  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def zipped(*members: Any) -> bytes:
    """A zip archive of (name, content, mode of Unix or None)."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (mode or stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return made.getvalue()


def sparse_bomb(path: Path, size: int) -> None:
    """A .tar of one file of so many zero bytes that takes no room on this disk."""
    with path.open("wb") as file:
        file.write(header(b"bomb", size))
        file.truncate(BLOCK + size + 2 * BLOCK)


def gzip_bomb(path: Path, size: int) -> None:
    """A .tar.gz of one file of so many zero bytes; the same packed block again and again, so that making it takes no time.

    Members of gzip follow each other (RFC 1952, 2.2): what is unpacked are all of them.
    """
    piece = 1 << 26
    packed = gzip.compress(bytes(piece), 9)
    with path.open("wb") as file:
        file.write(gzip.compress(header(b"bomb", size)))
        for _ in range(size // piece):
            file.write(packed)


def zip_bomb(path: Path, size: int, says: int) -> None:
    """A .zip of one file of zero bytes that says another size than it has."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    name, when = b"bomb", 0x21
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, when, 0, len(data), says, len(name), 0)
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 0x314, 20, 0, 8, 0, when, 0, len(data), says, len(name), 0, 0, 0, 0, 0o100644 << 16, 0,
    )  # fmt: skip
    start = len(local) + len(name) + len(data)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central) + len(name), start, 0)
    path.write_bytes(local + name + data + central + name + end)


class Endless:
    """A stream of any number of tar headers, made when they are read."""

    def __init__(self, count: int, kind: bytes = b"0") -> None:
        self._blocks = self._made(count, kind)
        self.read_blocks = 0

    @staticmethod
    def _made(count: int, kind: bytes) -> Iterator[bytes]:
        for number in range(count):
            yield header(b"%d" % number, kind=kind)
        yield bytes(2 * BLOCK)

    def read(self, size: int) -> bytes:
        self.read_blocks += 1
        return next(self._blocks, b"")
