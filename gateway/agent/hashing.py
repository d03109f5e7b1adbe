"""Checksums of a stream of bytes: MD5 of all, MD5 of each part, a CRC."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import List, Optional, Sequence

from . import crc64
from .crc import CRC64NVME, Crc
from .files import Input

_MD5 = re.compile(r"[0-9a-f]{32}")


class Digest:
    """What is asked for is computed, in order, as the bytes come."""

    def __init__(
        self, *, whole: bool, part_sizes: Optional[Sequence[int]], crc: Optional[Crc]
    ) -> None:
        self._whole = hashlib.md5(usedforsecurity=False) if whole else None
        self._sizes = None if part_sizes is None else list(part_sizes)
        self._part = hashlib.md5(usedforsecurity=False)
        self._in_part = 0
        self.kind = crc
        self._crc = 0
        self.parts: List[bytes] = []
        self.length = 0
        self._skip_empty()

    def update(self, data: crc64.Data) -> None:
        """Take the next bytes."""
        self.length += len(data)
        if self._whole is not None:
            self._whole.update(data)
        if self.kind is not None:
            self._crc = self.kind.of(data, self._crc)
        if self._sizes is None:
            return
        view = memoryview(data)
        while view and len(self.parts) < len(self._sizes):
            room = self._sizes[len(self.parts)] - self._in_part
            self._part.update(view[:room])
            self._in_part += min(room, len(view))
            view = view[room:]
            self._skip_empty()

    def join(self, after: Digest) -> None:
        """Take what another one computed of the bytes that follow: MD5s of whole parts, the CRC, and no MD5 of all."""
        self.parts += after.parts
        self.length += after.length
        if self.kind is not None:
            self._crc = self.kind.combine(self._crc, after._crc, after.length)

    def _skip_empty(self) -> None:
        while (
            self._sizes is not None
            and len(self.parts) < len(self._sizes)
            and self._in_part >= self._sizes[len(self.parts)]
        ):
            self.parts.append(self._part.digest())
            self._part = hashlib.md5(usedforsecurity=False)
            self._in_part = 0

    @property
    def md5(self) -> bytes:
        """The MD5 of all bytes where it was asked for by `whole`, else, with parts, the MD5 of their MD5s."""
        if self._whole is not None:
            return self._whole.digest()
        return b"" if self._sizes is None else self._joined()

    def _joined(self) -> bytes:
        return hashlib.md5(b"".join(self.parts), usedforsecurity=False).digest()

    @property
    def has_md5(self) -> bool:
        """Whether there is an ETag to compare."""
        return self._whole is not None or self._sizes is not None

    @property
    def crc(self) -> Optional[str]:
        """The CRC as S3 writes it, where one was asked for."""
        return None if self.kind is None else self.kind.encode(self._crc)

    @property
    def etag(self) -> str:
        """The ETag that S3 gives these bytes: the MD5, or with parts the MD5 of MD5s and `-N`."""
        if self._sizes is None:
            return self.md5.hex()
        return f"{self._joined().hex()}-{len(self.parts)}"


def joined(digests: Sequence[Digest]) -> Digest:
    """Return the digest of bytes that follow one another, from those of each; the first is it then."""
    first = digests[0]
    for digest in digests[1:]:
        first.join(digest)
    return first


def joined_crc(digests: Sequence[Digest]) -> Optional[str]:
    """Return the CRC of bytes that follow one another, as S3 writes it, from the digests of each, which stay as they are."""
    whole = Digest(whole=False, part_sizes=None, crc=digests[0].kind)
    for digest in digests:
        whole.join(digest)
    return whole.crc


def by_crc(item: Input) -> bool:
    """Tell whether the CRC that the store keeps of an input is checked in place of MD5s: far faster, where the node can."""
    return item.stored_crc64nvme is not None and crc64.native() is not None


def digest_for(item: Input, part_sizes: Optional[Sequence[int]] = None) -> Digest:
    """Return the digest that `mismatch` needs of an input, or of some of its parts."""
    if by_crc(item):
        return Digest(whole=False, part_sizes=None, crc=CRC64NVME)
    whole = item.part_sizes is None and _MD5.fullmatch(item.etag) is not None
    sizes = item.part_sizes if part_sizes is None else part_sizes
    crc = None if item.crc64nvme is None else CRC64NVME
    return Digest(whole=whole, part_sizes=sizes, crc=crc)


def mismatch(item: Input, digest: Digest) -> Optional[str]:
    """Return the name of the checksum that differs; None when all that were computed agree."""
    if digest.has_md5 and digest.etag != item.etag:
        return "MD5"
    for crc in (item.crc64nvme, item.stored_crc64nvme):
        if None not in (crc, digest.crc) and digest.crc != crc:
            return "CRC64NVME"
    return None


def checkable(item: Input) -> bool:
    """Tell whether there is any checksum to check an input with."""
    known = item.part_sizes is not None or _MD5.fullmatch(item.etag) is not None
    return known or item.crc64nvme is not None


def b64(digest: bytes) -> str:
    """Return a digest in base64."""
    return base64.b64encode(digest).decode()
