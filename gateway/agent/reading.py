"""The bytes of the outputs: read only as long as they do not change, hashed before they are sent or as they are."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Iterator, Optional

from .crc import Crc
from .hashing import Digest, joined
from .mailbox import Stop
from .outputs import Found, stamp
from .parts import cut
from .s3http import Span

_CHUNK = 1 << 20


class StageOutError(Exception):
    """An output cannot be uploaded; the text is for the user."""


class Reader:
    """Reads outputs, which errors call `noun`."""

    def __init__(self, stop: Stop, noun: str) -> None:
        self._stop = stop
        self.noun = noun

    def spans(self, found: Found, begin: int, end: int, size: int) -> Iterator[Span]:
        """Yield what to send of a file, in spans of at most `size` bytes; its handle is open while one is in use.

        Raises
        ------
        StageOutError
            When the file changed or cannot be read.
        Stopped
            When an end was asked for.
        """
        with self._reading(found):
            handle = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self._unchanged(found, os.fstat(handle))
            for at in range(begin, end, size):
                self._stop.check()
                yield Span(handle, at, min(size, end - at))
            self._unchanged(found, os.fstat(handle))
        finally:
            os.close(handle)

    def hashed(
        self, found: Found, begin: int, end: int, size: int, digest: Digest
    ) -> Iterator[memoryview]:
        """Yield the bytes of some of a file, as `spans` does, each good until the next, once a digest has taken them."""
        buffer = memoryview(bytearray(min(size, end - begin)))
        for span in self.spans(found, begin, end, size):
            view, at = buffer[: span.length], span.at
            while view:
                with self._reading(found):
                    count = os.preadv(span.handle, [view], at)
                if not count:
                    break  # it is shorter now, which is seen in the end
                digest.update(view[:count])
                yield view[:count]
                view, at = view[count:], at + count

    def hash(self, found: Found, begin: int, end: int, digest: Digest) -> None:
        """Have a digest take some of a file. Raises as `spans`."""
        for _ in self.hashed(found, begin, end, _CHUNK, digest):
            pass

    def still(self, found: Found) -> None:
        """Raise StageOutError when a file is not what it was."""
        with self._reading(found):
            now = found.real.lstat()
        self._unchanged(found, now)

    @contextlib.contextmanager
    def _reading(self, found: Found) -> Iterator[None]:
        """Keep a file's OSError apart from the connection's, which are tried again."""
        try:
            yield
        except OSError as exc:
            raise StageOutError(
                f"the {self.noun} {found.path!r} cannot be read: {exc.strerror}"
            ) from exc

    def _unchanged(self, found: Found, now: os.stat_result) -> None:
        if stamp(now) != found.stamp:
            raise StageOutError(f"the {self.noun} {found.path!r} changed while it was uploaded")


class Hashing:
    """The hashing of an output before it is sent, by the parts that it is uploaded in; `spans` (begin, end), in any order.

    `crc` and `md5` are what is computed; of an output in parts, always the MD5 of each.
    """

    def __init__(
        self, reader: Reader, found: Found, part_size: int, crc: Optional[Crc], *, md5: bool
    ) -> None:
        self._reader = reader
        self._found = found
        self.multipart = found.size > part_size
        self.error: Optional[str] = None
        self.spans = [(0, found.size)]
        if self.multipart:
            sizes = cut(found.size, part_size)
            self.spans = [(n * sizes[0], n * sizes[0] + size) for n, size in enumerate(sizes)]
        self._digests = [
            Digest(
                whole=md5 and not self.multipart,
                part_sizes=[end - begin] if self.multipart else None,
                crc=crc,
            )
            for begin, end in self.spans
        ]
        self._lock = threading.Lock()
        self._left = len(self.spans)

    def hash(self, number: int) -> bool:
        """Hash a part; True for exactly the caller that hashed the last, whether or not there was an `error`."""
        if self.error is None:
            try:
                self._reader.hash(self._found, *self.spans[number], self._digests[number])
            except StageOutError as exc:
                self.error = str(exc)
        with self._lock:
            self._left -= 1
            return self._left == 0

    def digest(self) -> Digest:
        """Return the digest of the file, once all of it is hashed."""
        return joined(self._digests)
