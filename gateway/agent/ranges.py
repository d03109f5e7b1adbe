"""A large input: fetched in ranges, in any order, and hashed as it arrives or in order as far as it is there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Set, Tuple

from .files import Input
from .hashing import Digest, by_crc, digest_for, joined

RANGE = 16 << 20


class Shrank(Exception):
    """The file has become shorter on the node: somebody else touched it."""


class Chain:
    """Ranges (begin, end) that follow one another and are hashed in that order, whatever comes before and after them.

    One that has a single range is hashed by whoever fetches it.
    """

    def __init__(self, begin: int, end: int, size: int, digest: Digest) -> None:
        self.ranges = [(a, min(a + size, end)) for a in range(begin, end, size)]
        self.digest = digest
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._there: Set[int] = set()
        self._next = 0

    def arrived(self, number: int, target: Path) -> bool:
        """Note a range, hash what can be hashed; True for exactly the caller that hashed the last."""
        if len(self.ranges) == 1:
            return True
        with self._lock:
            self._there.add(number)
        finished = False
        while not finished and self._hashing.acquire(blocking=False):
            try:
                while self._next in self._there:
                    self._hash(target, *self.ranges[self._next])
                    self._next += 1
                    finished = self._next == len(self.ranges)
            finally:
                self._hashing.release()
            # A range may have arrived after the last look and before the release.
            if self._next not in self._there:
                break
        return finished

    def _hash(self, target: Path, begin: int, end: int) -> None:
        with target.open("rb", buffering=0) as file:
            file.seek(begin)
            left = end - begin
            while left > 0:
                data = file.read(min(left, 1 << 20))
                if not data:
                    raise Shrank
                self.digest.update(data)
                left -= len(data)


class Ranged:
    """`ranges` (begin, end) of the file `target`, which is as long as the input from the start."""

    def __init__(self, item: Input, target: Path, size: int) -> None:
        self.item = item
        self.target = target
        self.syncing = threading.Lock()
        self._chains = list(_chains(item, size))
        self._place = [(chain, n) for chain in self._chains for n in range(len(chain.ranges))]
        self.ranges = [chain.ranges[n] for chain, n in self._place]
        self._lock = threading.Lock()
        self._left = len(self._chains)

    def digest_of(self, number: int) -> Optional[Digest]:
        """Return what hashes a range as it arrives; None where `arrived` does, when those before it are there."""
        chain, _ = self._place[number]
        return chain.digest if len(chain.ranges) == 1 else None

    def arrived(self, number: int) -> bool:
        """Note a range; True for exactly the caller after which all is hashed."""
        chain, place = self._place[number]
        try:
            if not chain.arrived(place, self.target):
                return False
        except Shrank:
            raise Shrank(f"input {self.item.path!r}: the file shrank on the node") from None
        with self._lock:
            self._left -= 1
            return self._left == 0

    def digest(self) -> Digest:
        """Return the digest of it all, once all is hashed."""
        return joined([chain.digest for chain in self._chains])


def _chains(item: Input, size: int) -> Iterator[Chain]:
    if by_crc(item):
        for begin in range(0, item.size, size):
            end = min(begin + size, item.size)
            yield Chain(begin, end, size, digest_for(item))
        return
    sizes = item.part_sizes
    if sizes is None or sum(sizes) != item.size:
        yield Chain(0, item.size, size, digest_for(item))
        return
    begin = 0
    for group in _groups(sizes, size):
        length = sum(group)
        # A part of some four ranges is fetched in one, so that nothing is read again to hash it.
        step = length if length <= 4 * size else size
        yield Chain(begin, begin + length, step, digest_for(item, group))
        begin += length


def _groups(sizes: Sequence[int], size: int) -> Iterator[Tuple[int, ...]]:
    """Yield parts that follow one another: together at most `size` bytes, or one that is larger; none without bytes."""
    group: List[int] = []
    length = 0
    for part in sizes:
        if length and part and length + part > size:
            yield tuple(group)
            group, length = [], 0
        group.append(part)
        length += part
    if group:
        yield tuple(group)
