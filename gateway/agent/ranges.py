"""A large input: fetched in ranges, in any order, and hashed in order as far as it is there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Set

from .files import Input
from .hashing import digest_for

RANGE = 16 << 20


class Shrank(Exception):
    """The file has become shorter on the node: somebody else touched it."""


class Ranged:
    """`ranges` (begin, end) of the file `target`, which is as long as the input from the start.

    A range has `size` bytes, but for the last.
    """

    def __init__(self, item: Input, target: Path, size: int) -> None:
        self.item = item
        self.target = target
        self.ranges = [(a, min(a + size, item.size)) for a in range(0, item.size, size)]
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._there: Set[int] = set()
        self._next = 0
        self.digest = digest_for(item)

    def arrived(self, number: int) -> bool:
        """Note a range, hash what can be hashed; True for exactly the caller that hashed the last."""
        with self._lock:
            self._there.add(number)
        finished = False
        while not finished and self._hashing.acquire(blocking=False):
            try:
                while self._next in self._there:
                    self._hash(*self.ranges[self._next])
                    self._next += 1
                    finished = self._next == len(self.ranges)
            finally:
                self._hashing.release()
            # A range may have arrived after the last look and before the release.
            if self._next not in self._there:
                break
        return finished

    def _hash(self, begin: int, end: int) -> None:
        with self.target.open("rb", buffering=0) as file:
            file.seek(begin)
            left = end - begin
            while left > 0:
                data = file.read(min(left, 1 << 20))
                if not data:
                    raise Shrank(f"input {self.item.path!r}: the file shrank on the node")
                self.digest.update(data)
                left -= len(data)
