"""Stage-in: fetch the inputs in parallel and let none through that is not what was submitted."""

from __future__ import annotations

import errno
import http.client
import os
import sys
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Protocol, Sequence, Tuple

from .files import Input, Storage
from .grants import Grants
from .hashing import Digest, checkable, digest_for, mismatch
from .mailbox import Asker, NoAnswer, Stop
from .pool import Pool
from .ranges import RANGE, Ranged, Shrank
from .room import reserve
from .s3http import (
    CHUNK,
    Changed,
    Denied,
    Line,
    Pace,
    Policy,
    Refused,
    Transient,
    describe,
    persist,
    raise_for,
    receive,
)  # fmt: skip

BATCH = 500
WORKERS = 16
BIG = 64 << 20
_RENEWALS = 2
_ROUNDS = 3  # times an object is fetched whose checksum is wrong
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


class StageInError(Exception):
    """An input cannot be had; the text is for the user."""


class Folders(Protocol):
    """Where files are put: `partial` until they are whole, then `inputs`; both on the file system of `work`."""

    @property
    def work(self) -> Path:
        """Any directory there."""

    @property
    def partial(self) -> Path:
        """For files that are not whole."""

    @property
    def inputs(self) -> Path:
        """For those that are."""


class Downloader:
    """Fetches the inputs of one container; one of `big` bytes or more in ranges of `range_size`.

    `noun` is what errors call a file, `mode` the rights that files get.
    """

    def __init__(
        self,
        storage: Storage,
        place: Folders,
        mailbox: Asker,
        stop: Stop,
        progress: Callable[[int], None],
        policy: Optional[Policy] = None,
        big: int = BIG,
        range_size: int = RANGE,
        noun: str = "input",
        mode: int = 0o444,
    ) -> None:
        self._noun = noun
        self._mode = mode
        self._place = place
        self._big = big
        self._range_size = range_size
        self._stop = stop
        self._progress = progress
        self._policy = policy or Policy()
        self._line = Line(storage.trusts, policy=self._policy)
        self._grants = Grants(mailbox, stop)
        self._pool = Pool(WORKERS, stop.check)
        self._local = threading.local()
        self._aborted = False

    def fetch(self, inputs: Sequence[Input]) -> None:
        """Fetch all inputs; return when each is there under its name, checked, synced, read-only.

        Raises
        ------
        StageInError
            When one cannot be had. The others are given up.
        Stopped
            When an end was asked for.
        """
        need = sum(item.size for item in inputs)
        disk = os.statvfs(self._place.work)
        free = disk.f_bavail * disk.f_frsize
        if need > free:
            raise StageInError(
                f"the {self._noun}s have {need} bytes, the node has {free} bytes free"
            )
        for item in inputs:
            if not checkable(item):
                raise StageInError(
                    f"{self._noun} {item.path!r} has no checksum that could be checked"
                )
        try:
            for start in range(0, len(inputs), BATCH):
                batch = inputs[start : start + BATCH]
                self._pool.settle(BATCH)  # the next are granted while these are fetched
                self._grants.ask([item.id for item in batch])
                for item in batch:
                    self._begin(item, 1)
            self._pool.settle(0)
        except (NoAnswer, Shrank) as exc:
            raise StageInError(str(exc)) from exc
        except OSError as exc:
            raise StageInError(f"the {self._noun}s cannot be written: {exc.strerror}") from exc
        finally:
            self._aborted = True
            self._pool.close()

    def _begin(self, item: Input, round_: int) -> None:
        if item.size < self._big:
            self._pool.submit(lambda: self._small(item, round_))
            return
        target = self._place.partial / str(item.id)
        with target.open("wb") as file:
            reserve(file.fileno(), item.size)
        big = Ranged(item, target, self._range_size)
        for number in range(len(big.ranges)):
            self._pool.submit(lambda number=number: self._piece(big, number, round_))  # type: ignore[misc]

    def _small(self, item: Input, round_: int) -> None:
        target = self._place.partial / str(item.id)
        digest = digest_for(item)
        with target.open("wb", buffering=0) as file:
            reserve(file.fileno(), item.size)
            self._transfer(item, 0, item.size, file.fileno(), digest)
        self._finish(item, target, digest, round_)

    def _piece(self, big: Ranged, number: int, round_: int) -> None:
        begin, end = big.ranges[number]
        handle = os.open(big.target, os.O_WRONLY)
        try:
            self._transfer(big.item, begin, end, handle, big.digest_of(number))
            if big.syncing.acquire(blocking=False):  # one at a time, while others fetch
                try:
                    os.fsync(handle)
                finally:
                    big.syncing.release()
        finally:
            os.close(handle)
        if big.arrived(number):
            self._finish(big.item, big.target, big.digest(), round_)

    def _finish(self, item: Input, target: Path, digest: Digest, round_: int) -> None:
        wrong = mismatch(item, digest)
        if wrong is not None:
            self._progress(-item.size)
            if round_ >= _ROUNDS:
                raise StageInError(
                    f"{self._noun} {item.path!r}: its {wrong} is wrong after the transfer"
                )
            self._begin(item, round_ + 1)
            return
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fchmod(handle, self._mode)
            os.fsync(handle)
        finally:
            os.close(handle)
        final = self._place.inputs / item.path
        if ".." in Path(item.path).parts or self._place.inputs not in final.parents:
            raise StageInError(f"{self._noun} {item.path!r} does not lie in its directory")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            target.rename(final)
        except OSError as exc:
            raise StageInError(f"{self._noun} {item.path!r}: {exc.strerror}") from exc
        self._grants.done(item.id)

    def _transfer(
        self, item: Input, begin: int, end: int, handle: int, digest: Optional[Digest]
    ) -> None:
        at = begin
        url, headers = self._grants.get(item.id)
        renewals = 0

        def attempt() -> None:
            nonlocal at
            at = self._some(item, (url, headers), (at, end), handle, digest)
            if at < end:
                raise Transient(f"the transfer ended {end - at} bytes early")

        while True:
            before = at
            try:
                persist(attempt, self._stop, self._policy, f"{self._noun} {item.path!r}")
                return
            except Denied as exc:
                renewals = renewals + 1 if at == before else 1
                if renewals > _RENEWALS:
                    raise StageInError(
                        f"{self._noun} {item.path!r} may not be read: {exc}"
                    ) from None
                print(
                    f"{self._noun} {item.path!r}: its URL has expired; a new one is asked for",
                    file=sys.stderr,
                    flush=True,
                )
                url, headers = self._grants.renew(item.id, url)
            except Changed:
                raise StageInError(f"{self._noun} {item.path!r} changed since submission") from None
            except Refused as exc:
                gone = exc.code in ("NoSuchKey", "404")
                why = "is not there any more" if gone else f"cannot be read: {exc}"
                raise StageInError(f"{self._noun} {item.path!r} {why}") from None
            except Transient as exc:
                raise StageInError(
                    f"{self._noun} {item.path!r} could not be fetched: {exc}"
                ) from None

    def _some(
        self,
        item: Input,
        grant: Tuple[str, Dict[str, str]],
        span: Tuple[int, int],
        handle: int,
        digest: Optional[Digest],
    ) -> int:
        # One request; returns how far it came. What a broken line brought is kept.
        at, end = span
        url, headers = grant
        headers = {**headers, "If-Match": f'"{item.etag}"'}
        partial = (at, end) != (0, item.size)
        if partial:
            headers["Range"] = f"bytes={at}-{end - 1}"
        response = self._line.open("GET", url, headers)
        if response.status not in (200, 206):
            raise_for(response.status, self._line.finish(response, url))
        length = response.getheader("Content-Length")
        if response.status != (206 if partial else 200) or length != str(end - at):
            self._line.drop(response, url)
            raise Transient(f"an answer of {length} bytes where {end - at} were asked for")
        try:
            for count in self._bytes(response, at, end, handle, digest):
                at += count
        except (OSError, http.client.HTTPException, Transient) as exc:
            self._line.drop(response, url)
            if isinstance(exc, OSError) and exc.errno in _DISK:
                raise StageInError(f"the {self._noun}s cannot be written: {exc.strerror}") from exc
            if at == span[0]:
                raise Transient(str(exc) if isinstance(exc, Transient) else describe(exc)) from None
        else:
            if at < end:
                self._line.drop(response, url)
            else:
                response.close()
        return at

    def _bytes(
        self,
        response: http.client.HTTPResponse,
        at: int,
        end: int,
        handle: int,
        digest: Optional[Digest],
    ) -> Iterator[int]:
        """Write and hash the bytes of an answer; yields how many there are more."""
        pace = Pace(self._policy)
        buffer = self._buffer()
        while at < end:
            count = receive(response, buffer[: end - at])
            if not count:
                return
            _write_all(handle, buffer[:count], at)
            if digest is not None:
                digest.update(buffer[:count])
            at += count
            yield count
            self._progress(count)
            pace.add(count)
            self._stop.check()
            if self._aborted:
                raise StageInError("given up")

    def _buffer(self) -> memoryview:
        """Return what this thread receives into, the same each time."""
        buffer: Optional[memoryview] = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(bytearray(CHUNK))
        return buffer


def _write_all(handle: int, data: memoryview, at: int) -> None:
    while data:
        count = os.pwrite(handle, data, at)
        data, at = data[count:], at + count
