"""CRC-64/NVME: by awscrt where the node has it, else by tables in pure Python (some 30 MB/s)."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Callable, List, Optional, Tuple, Union

Data = Union[bytes, memoryview]
POLYNOMIAL = 0x9A6C9329AC4BC9B5  # reflected
_ALL = 0xFFFFFFFFFFFFFFFF
_WORDS = sys.byteorder == "little"


@lru_cache(maxsize=1)
def native() -> Optional[Callable[[Data, int], int]]:
    """Return awscrt's function, or None where awscrt is not installed."""
    try:
        from awscrt.checksums import crc64nvme  # noqa: PLC0415 - slow to import, seldom there
    except ImportError:
        return None
    function: Callable[[Data, int], int] = crc64nvme
    return function


@lru_cache(maxsize=1)
def _bytes_table() -> List[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


@lru_cache(maxsize=1)
def _word_tables() -> Tuple[List[int], ...]:
    # tables[k][v]: what the 16 bits v do to the register when 2 * (3 - k) further bytes follow
    small = _bytes_table()

    def step(crc: int) -> int:
        return small[crc & 255] ^ (crc >> 8)

    last = [step(step(value)) for value in range(65536)]
    tables = [last]
    for _ in range(3):
        tables.append([last[crc & 65535] ^ (crc >> 16) for crc in tables[-1]])
    return tuple(reversed(tables))


def portable(data: Data, previous: int = 0) -> int:
    """Return the CRC of data that follows data with the CRC `previous`."""
    crc = previous ^ _ALL
    table = _bytes_table()
    start = 0
    if _WORDS and len(data) >= 65536:
        start = len(data) // 8 * 8
        t0, t1, t2, t3 = _word_tables()
        for word in memoryview(data)[:start].cast("Q"):
            crc ^= word
            crc = (
                t0[crc & 65535] ^ t1[(crc >> 16) & 65535] ^ t2[(crc >> 32) & 65535] ^ t3[crc >> 48]
            )
    for byte in memoryview(data)[start:]:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ _ALL


def crc64nvme(data: Data, previous: int = 0) -> int:
    """Return the CRC by the fastest way this node has."""
    function = native()
    return portable(data, previous) if function is None else function(data, previous)
