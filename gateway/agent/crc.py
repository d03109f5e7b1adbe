"""The CRCs that S3 keeps of whole objects, as transfers use them: computed piece by piece, joined, written as S3 writes them."""

from __future__ import annotations

import base64
import zlib
from functools import lru_cache
from typing import Callable, NamedTuple

from . import crc64

_POLYNOMIALS = {32: 0xEDB88320, 64: crc64.POLYNOMIAL}  # reflected


class Crc(NamedTuple):
    """One kind: its name in S3, its bits, and what returns that of data which follows data with a known one."""

    name: str
    bits: int
    of: Callable[[crc64.Data, int], int]

    @property
    def header(self) -> str:
        """The header that S3 has it in."""
        return f"x-amz-checksum-{self.name.lower()}"

    def combine(self, first: int, second: int, length: int) -> int:
        """Return that of some bytes followed by `length` others, from that of each."""
        return _times(_shift(length, self.bits), first, self.bits) ^ second

    def encode(self, value: int) -> str:
        """Return a value as S3 writes it: base64 of its bytes, the highest first."""
        return base64.b64encode(value.to_bytes(self.bits // 8, "big")).decode()


CRC64NVME = Crc("CRC64NVME", 64, crc64.crc64nvme)
CRC32 = Crc("CRC32", 32, zlib.crc32)


def for_uploads() -> Crc:
    """Return the kind that this node sends with what it uploads: the better where awscrt is there, else what Python has."""
    return CRC32 if crc64.native() is None else CRC64NVME


def _times(a: int, b: int, bits: int) -> int:
    """Multiply two polynomials, the highest power in the lowest bit, modulo that of the CRC of so many bits."""
    product = 0
    for place in range(bits - 1, -1, -1):
        if a >> place & 1:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIALS[bits] if b & 1 else 0)
    return product


@lru_cache(maxsize=64)
def _shift(length: int, bits: int) -> int:
    """Return x to the power of eight times `length`, by which bytes before that many others count."""
    power, result = 1 << (bits - 1 - 8), 1 << (bits - 1)
    while length:
        if length & 1:
            result = _times(power, result, bits)
        power = _times(power, power, bits)
        length >>= 1
    return result
