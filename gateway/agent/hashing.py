"""Checksums of a stream of bytes: MD5 of all, MD5 of each part, CRC64NVME."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import List, Optional, Sequence

from . import crc64
from .files import Input

_MD5 = re.compile(r"[0-9a-f]{32}")


class Digest:
    """What is asked for is computed, in order, as the bytes come."""

    def __init__(self, *, whole: bool, part_sizes: Optional[Sequence[int]], crc: bool) -> None:
        self._whole = hashlib.md5(usedforsecurity=False) if whole else None
        self._sizes = None if part_sizes is None else list(part_sizes)
        self._part = hashlib.md5(usedforsecurity=False)
        self._in_part = 0
        self._crc: Optional[int] = 0 if crc else None
        self.parts: List[bytes] = []
        self._skip_empty()

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._whole is not None:
            self._whole.update(data)
        if self._crc is not None:
            self._crc = crc64.crc64nvme(data, self._crc)
        if self._sizes is None:
            return
        view = memoryview(data)
        while view and len(self.parts) < len(self._sizes):
            room = self._sizes[len(self.parts)] - self._in_part
            self._part.update(view[:room])
            self._in_part += min(room, len(view))
            view = view[room:]
            self._skip_empty()

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
        """The MD5 of all bytes (asked for by `whole`)."""
        return b"" if self._whole is None else self._whole.digest()

    @property
    def crc(self) -> Optional[str]:
        """The CRC64NVME as S3 writes it, where it was asked for."""
        return None if self._crc is None else crc64.encode(self._crc)

    @property
    def etag(self) -> str:
        """The ETag that S3 gives these bytes: the MD5, or with parts the MD5 of MD5s and `-N`."""
        if self._sizes is None:
            return self.md5.hex()
        joined = hashlib.md5(b"".join(self.parts), usedforsecurity=False).hexdigest()
        return f"{joined}-{len(self._sizes)}"


def digest_for(item: Input) -> Digest:
    """Return the digest that `mismatch` needs of an input."""
    whole = item.part_sizes is None and _MD5.fullmatch(item.etag) is not None
    return Digest(whole=whole, part_sizes=item.part_sizes, crc=item.crc64nvme is not None)


def mismatch(item: Input, digest: Digest) -> Optional[str]:
    """Return the name of the checksum that differs; None when all there are agree."""
    by_md5 = item.part_sizes is not None or _MD5.fullmatch(item.etag) is not None
    if by_md5 and digest.etag != item.etag:
        return "MD5"
    if item.crc64nvme is not None and digest.crc != item.crc64nvme:
        return "CRC64NVME"
    return None


def checkable(item: Input) -> bool:
    """Tell whether there is any checksum to check an input with."""
    known = item.part_sizes is not None or _MD5.fullmatch(item.etag) is not None
    return known or item.crc64nvme is not None


def b64(digest: bytes) -> str:
    """Return a digest in base64."""
    return base64.b64encode(digest).decode()
