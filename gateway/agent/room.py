"""Room on the disk for a file, taken before its bytes come: the file system then writes it for half the CPU, and in one piece."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import lru_cache
from typing import Any

from .place import FULL

LEAST = 1 << 20  # bytes; below them it is not worth a call
_REFUSED = (*FULL, errno.EFBIG)


@lru_cache(maxsize=1)
def _fallocate() -> Any:
    # os.posix_fallocate will not do: where a file system cannot, it writes to each block.
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


def reserve(handle: int, size: int) -> None:
    """Make an open, empty file `size` bytes long, with room for them where the file system can.

    Raises
    ------
    OSError
        When there is no room, or the quota or the file system does not allow so many bytes.
    """
    function = _fallocate() if size >= LEAST else None
    if function is not None and function(handle, 0, 0, size) != 0:
        number = ctypes.get_errno()
        if number in _REFUSED:
            raise OSError(number, os.strerror(number))
    os.ftruncate(handle, size)
