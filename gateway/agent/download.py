"""Stage-in: fetch the inputs in parallel and let none through that is not what was submitted."""

from __future__ import annotations

import errno
import http.client
import math
import os
import shutil
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

from .files import Fields, Input, Job
from .hashing import Digest, checkable, digest_for, mismatch
from .mailbox import Mailbox, NoAnswer, Stop
from .place import Place
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
)  # fmt: skip

BATCH = 500
WORKERS = 16
BIG = 64 << 20
RANGE = 16 << 20
_RENEWALS = 2
_EARLY_SECONDS = 60.0
_ROUNDS = 3  # times an object is fetched whose checksum is wrong


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


class StageInError(Exception):
    """An input cannot be had; the text is for the user."""


class Grants:
    """The URLs of inputs, renewed when they run out. Thread-safe."""

    def __init__(self, mailbox: Mailbox, stop: Stop) -> None:
        self._mailbox = mailbox
        self._stop = stop
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._urls: Dict[int, Tuple[str, Dict[str, str], float]] = {}
        self._batch_of: Dict[int, List[int]] = {}
        self._done: Set[int] = set()

    def ask(self, ids: List[int]) -> None:
        """Ask for URLs of these inputs and keep them."""
        answer = self._mailbox.ask("stage-in", self._stop, inputs=ids)
        until = _until(answer)
        with self._lock:
            for entry in answer.each("inputs"):
                self._urls[entry.whole("id")] = (entry.text("url"), entry.pairs("headers"), until)
            for id_ in ids:
                if id_ not in self._urls:
                    raise StageInError("the gateway granted not all inputs that were asked for")
                self._batch_of[id_] = ids

    def get(self, id_: int) -> Tuple[str, Dict[str, str]]:
        """Return URL and headers, renewed where they are about to expire."""
        url, headers, until = self._urls[id_]
        if time.monotonic() > until:
            return self.renew(id_, url)
        return url, headers

    def renew(self, id_: int, used: str) -> Tuple[str, Dict[str, str]]:
        """Return another URL than the one `used`, for this and what is left of its batch."""
        with self._renewing:
            url, headers, _ = self._urls[id_]
            if url == used:
                with self._lock:
                    left = [i for i in self._batch_of[id_] if i not in self._done]
                self.ask(left if id_ in left else [*left, id_])
                url, headers, _ = self._urls[id_]
            return url, headers

    def done(self, id_: int) -> None:
        """Note that an input needs no URL any more."""
        with self._lock:
            self._done.add(id_)


def _until(answer: Fields) -> float:
    # A node whose clock is off must not ask without end: then only a 403 tells.
    left = answer.number("expires") - time.time()
    return time.monotonic() + left - _EARLY_SECONDS if left > 2 * _EARLY_SECONDS else math.inf


class _Big:
    """A file that is fetched in ranges; its bytes are hashed in order as far as they are there."""

    def __init__(self, item: Input, target: Path) -> None:
        self.item = item
        self.target = target
        self.ranges = [(a, min(a + RANGE, item.size)) for a in range(0, item.size, RANGE)]
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
                    raise StageInError(f"input {self.item.path!r}: the file shrank on the node")
                self.digest.update(data)
                left -= len(data)


class Downloader:
    """Fetches the inputs of one container."""

    def __init__(
        self,
        job: Job,
        place: Place,
        mailbox: Mailbox,
        stop: Stop,
        progress: Callable[[int], None],
        policy: Optional[Policy] = None,
    ) -> None:
        self._place = place
        self._stop = stop
        self._progress = progress
        self._policy = policy or Policy()
        self._line = Line(job.ca_file, insecure=job.insecure, policy=self._policy)
        self._grants = Grants(mailbox, stop)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="get")
        self._open: Set[Future[None]] = set()
        self._lock = threading.Lock()
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
        free = shutil.disk_usage(self._place.work).free
        if need > free:
            raise StageInError(f"the inputs have {need} bytes, the node has {free} bytes free")
        for item in inputs:
            if not checkable(item):
                raise StageInError(f"input {item.path!r} has no checksum that could be checked")
        try:
            for start in range(0, len(inputs), BATCH):
                batch = inputs[start : start + BATCH]
                self._settle(BATCH // 2)
                self._grants.ask([item.id for item in batch])
                for item in batch:
                    self._begin(item, 1)
            self._settle(0)
        except NoAnswer as exc:
            raise StageInError(str(exc)) from exc
        except OSError as exc:
            raise StageInError(f"the inputs cannot be written: {exc.strerror}") from exc
        finally:
            self._aborted = True
            self._pool.shutdown(wait=False)

    def _settle(self, most: int) -> None:
        # Wait until no more than `most` transfers are open; a failure comes out here.
        while True:
            with self._lock:
                if len(self._open) <= most:
                    return
                waiting = set(self._open)
            done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            with self._lock:
                self._open -= done
            for future in done:
                future.result()
            self._stop.check()

    def _submit(self, work: Callable[[], None]) -> None:
        with self._lock:
            self._open.add(self._pool.submit(work))

    def _begin(self, item: Input, round_: int) -> None:
        if item.size < BIG:
            self._submit(lambda: self._small(item, round_))
            return
        target = self._place.partial / str(item.id)
        with target.open("wb") as file:
            file.truncate(item.size)
        big = _Big(item, target)
        for number in range(len(big.ranges)):
            self._submit(lambda number=number: self._piece(big, number, round_))  # type: ignore[misc]

    def _small(self, item: Input, round_: int) -> None:
        target = self._place.partial / str(item.id)
        digest = digest_for(item)
        with target.open("wb", buffering=0) as file:
            self._transfer(item, 0, item.size, file.fileno(), digest)
        self._finish(item, target, digest, round_)

    def _piece(self, big: _Big, number: int, round_: int) -> None:
        begin, end = big.ranges[number]
        handle = os.open(big.target, os.O_WRONLY)
        try:
            self._transfer(big.item, begin, end, handle, None)
        finally:
            os.close(handle)
        if big.arrived(number):
            self._finish(big.item, big.target, big.digest, round_)

    def _finish(self, item: Input, target: Path, digest: Digest, round_: int) -> None:
        wrong = mismatch(item, digest)
        if wrong is not None:
            self._progress(-item.size)
            if round_ >= _ROUNDS:
                raise StageInError(f"input {item.path!r}: its {wrong} is wrong after the transfer")
            self._begin(item, round_ + 1)
            return
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o444)
            os.fsync(handle)
        finally:
            os.close(handle)
        final = self._place.inputs / item.path
        if ".." in Path(item.path).parts or self._place.inputs not in final.parents:
            raise StageInError(f"input {item.path!r} does not lie in the input directory")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            target.rename(final)
        except OSError as exc:
            raise StageInError(f"input {item.path!r}: {exc.strerror}") from exc
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
                persist(attempt, self._stop, self._policy, f"input {item.path!r}")
                return
            except Denied as exc:
                renewals = renewals + 1 if at == before else 1
                if renewals > _RENEWALS:
                    raise StageInError(f"input {item.path!r} may not be read: {exc}") from None
                url, headers = self._grants.renew(item.id, url)
            except Changed:
                raise StageInError(f"input {item.path!r} changed since submission") from None
            except Refused as exc:
                gone = exc.code in ("NoSuchKey", "404")
                why = "is not there any more" if gone else f"cannot be read: {exc}"
                raise StageInError(f"input {item.path!r} {why}") from None
            except Transient as exc:
                raise StageInError(f"input {item.path!r} could not be fetched: {exc}") from None

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
        pace = Pace(self._policy)
        try:
            while at < end:
                data = response.read1(min(CHUNK, end - at))
                if not data:
                    break
                _write_all(handle, data, at)
                if digest is not None:
                    digest.update(data)
                at += len(data)
                self._progress(len(data))
                pace.add(len(data))
                self._stop.check()
                if self._aborted:
                    raise StageInError("given up")
        except (OSError, http.client.HTTPException, Transient) as exc:
            self._line.drop(response, url)
            if isinstance(exc, OSError) and exc.errno in _DISK:
                raise StageInError(f"the inputs cannot be written: {exc.strerror}") from exc
            print_line = describe(exc) if not isinstance(exc, Transient) else str(exc)
            if at == span[0]:
                raise Transient(print_line) from None
        else:
            if at < end or response.read1(1):
                self._line.drop(response, url)
        return at


def _write_all(handle: int, data: bytes, at: int) -> None:
    while data:
        count = os.pwrite(handle, data, at)
        data, at = data[count:], at + count
