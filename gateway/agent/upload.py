"""Stage-out: hash the outputs, ask for URLs, upload and compare what S3 says it has."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set

from . import crc64
from .complete import complete
from .files import Output, Storage
from .hashing import Digest, b64
from .mailbox import Asker, NoAnswer, Stop, Stopped
from .outputs import Found, stamp
from .pool import Pool
from .puts import Grant, Put, read_grants
from .s3http import (
    CHUNK,
    Changed,
    Denied,
    Line,
    Pace,
    Policy,
    Refused,
    Transient,
    persist,
    raise_for,
)  # fmt: skip

BATCH = 500
MOST_PARTS = 10_000
WORKERS = 16
HASHERS = 4
_RENEWALS = 2


class StageOutError(Exception):
    """An output cannot be uploaded; the text is for the user."""


class _Item:
    """An output on its way."""

    def __init__(self, found: Found, digest: Digest, *, multipart: bool) -> None:
        self.found = found
        self.digest = digest
        self.multipart = multipart
        self.grant: Optional[Grant] = None
        self.renewals = 0
        self.renewed_at = 0
        self.uploaded: Set[int] = set()
        self.waiting = 0
        self.error: Optional[Exception] = None
        self.lock = threading.Lock()

    def request(self) -> Dict[str, object]:
        """Return what a stage-out request says of it."""
        parts = [b64(part) for part in self.digest.parts] if self.multipart else None
        return {
            "path": self.found.path,
            "size": self.found.size,
            "md5": b64(self.digest.md5),
            "crc64nvme": self.digest.crc,
            "part_md5s": parts,
        }


def batches(files: Sequence[Found], part_size: int) -> Iterator[List[Found]]:
    """Yield the outputs of one request each: so many files and parts that a letter stays far below what is read of one."""
    batch: List[Found] = []
    parts = 0
    for found in files:
        count = max(1, -(-found.size // part_size))
        if batch and (len(batch) == BATCH or parts + count > MOST_PARTS):
            yield batch
            batch, parts = [], 0
        batch.append(found)
        parts += count
    if batch:
        yield batch


class Uploader:
    """Uploads the outputs of one container; `outputs` and `errors` tell how far it came.

    `noun` is what errors call a file.
    """

    def __init__(
        self,
        storage: Storage,
        mailbox: Asker,
        stop: Stop,
        progress: Callable[[int], None],
        policy: Optional[Policy] = None,
        noun: str = "output",
    ) -> None:
        self._noun = noun
        self._part_size = storage.part_size
        self._mailbox = mailbox
        self._stop = stop
        self._progress = progress
        self._policy = policy or Policy()
        self._line = Line(storage.ca_file, insecure=storage.insecure, policy=self._policy)
        self._pool = Pool(WORKERS, stop.check)
        self._hashers = Pool(HASHERS, stop.check)
        self._lock = threading.Lock()
        self.outputs: List[Output] = []
        self.errors: List[str] = []

    def send(self, files: Sequence[Found]) -> None:
        """Upload what can be uploaded; one that fails does not keep back the others.

        Raises
        ------
        Stopped
            When an end was asked for.
        """
        try:
            hashed: List[Optional[_Item]] = []
            for batch in [
                *batches(files, self._part_size),
                [],
            ]:  # the next is hashed while the last is uploaded
                self._hashers.settle(0)
                items = [item for item in hashed if item is not None]
                hashed = self._begin(batch)
                self._pool.settle(BATCH // 2)
                self._ask(items)
            self._pool.settle(0)
        finally:
            self._pool.close()
            self._hashers.close()

    def _begin(self, files: Sequence[Found]) -> List[Optional[_Item]]:
        """Begin to hash files; their places in the list are filled as it is done."""
        items: List[Optional[_Item]] = [None] * len(files)

        def work(place: int) -> None:
            try:
                items[place] = self._hash(files[place])
            except StageOutError as exc:
                self._fail(str(exc))

        for place in range(len(files)):
            self._hashers.submit(lambda place=place: work(place))  # type: ignore[misc]
        return items

    def _fail(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        with self._lock:
            self.errors.append(text)

    def _hash(self, found: Found) -> _Item:
        multipart = found.size > self._part_size
        sizes: Optional[List[int]] = None
        if multipart:
            sizes = [
                min(self._part_size, found.size - at)
                for at in range(0, found.size, self._part_size)
            ]
        digest = Digest(whole=True, part_sizes=sizes, crc=crc64.native() is not None)
        for chunk in self._read(found, 0, found.size, 1 << 20):
            digest.update(chunk)
        return _Item(found, digest, multipart=multipart)

    @contextlib.contextmanager
    def _reading(self, found: Found) -> Iterator[None]:
        """Keep a file's OSError apart from the connection's, which are tried again."""
        try:
            yield
        except OSError as exc:
            raise StageOutError(
                f"the {self._noun} {found.path!r} cannot be read: {exc.strerror}"
            ) from exc

    def _read(self, found: Found, begin: int, end: int, chunk: int) -> Iterator[bytes]:
        with self._reading(found):
            handle = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self._unchanged(found, os.fstat(handle))
            at = begin
            while at < end:
                self._stop.check()
                with self._reading(found):
                    data = os.pread(handle, min(chunk, end - at), at)
                if not data:
                    break
                at += len(data)
                yield data
            self._unchanged(found, os.fstat(handle))
        finally:
            os.close(handle)

    def _unchanged(self, found: Found, now: os.stat_result) -> None:
        if stamp(now) != found.stamp:
            raise StageOutError(f"the {self._noun} {found.path!r} changed while it was uploaded")

    def _still(self, found: Found) -> None:
        with self._reading(found):
            now = found.real.lstat()
        self._unchanged(found, now)

    def _ask(self, items: Sequence[_Item]) -> None:
        if not items:
            return
        wanted = [item.request() for item in items]
        try:
            grants = read_grants(self._mailbox.ask("stage-out", self._stop, outputs=wanted))
        except NoAnswer as exc:
            self._fail(str(exc))
            return
        for item in items:
            self._start(item, grants.get(item.found.path))

    def _start(self, item: _Item, grant: Optional[Grant]) -> None:
        path = item.found.path
        if grant is not None and grant.there:
            self._progress(item.found.size)
            self._end(item)
            return
        if grant is None or (grant.complete is not None) != item.multipart:
            self._fail(f"the {self._noun} {path!r}: the gateway granted no upload")
            return
        if item.multipart and set(grant.parts) != set(range(1, len(item.digest.parts) + 1)):
            self._fail(
                f"the {self._noun} {path!r}: the gateway granted other parts than were asked for"
            )
            return
        if item.grant is not None and item.grant.upload_id != grant.upload_id:
            item.uploaded.clear()
            item.renewed_at = 0
        item.grant, item.error = grant, None
        if not item.multipart:
            item.waiting = 1
            self._pool.submit(lambda: self._work(item, 0))
            return
        left = [number for number in grant.parts if number not in item.uploaded]
        item.waiting = max(1, len(left))
        for number in left or [0]:
            self._pool.submit(lambda number=number: self._work(item, number))  # type: ignore[misc]

    def _work(self, item: _Item, number: int) -> None:
        """Upload a part (or, 0, a single object); whoever is the last of an item ends it."""
        try:
            if item.error is None:
                if not item.multipart:
                    self._single(item)
                elif number:
                    self._part(item, number)
        except Stopped:
            raise
        except (StageOutError, Denied, Changed, Refused, Transient, OSError) as exc:
            with item.lock:
                item.error = item.error or exc
        with item.lock:
            item.waiting -= 1
            if item.waiting:
                return
        if item.error is None and item.multipart:
            try:
                self._complete(item)
            except (StageOutError, Denied, Changed, Refused, Transient) as exc:
                item.error = exc
        self._end(item)

    def _end(self, item: _Item) -> None:
        path = item.found.path
        if len(item.uploaded) > item.renewed_at:
            item.renewals = 0  # it is only slow
        if isinstance(item.error, Denied) and item.renewals < _RENEWALS:
            item.renewals += 1
            item.renewed_at = len(item.uploaded)
            self._ask([item])
        elif isinstance(item.error, StageOutError):
            self._fail(str(item.error))
        elif item.error is not None:
            self._fail(f"the {self._noun} {path!r} could not be uploaded: {item.error}")
        else:
            digest, size = item.digest, item.found.size
            output = Output(path, size, digest.etag, digest.md5.hex(), digest.crc)
            with self._lock:
                self.outputs.append(output)

    def _send(self, item: _Item, put: Put, begin: int, end: int, expected: str) -> None:
        what = f"{self._noun} {item.found.path!r}"

        def attempt() -> None:
            pace = Pace(self._policy)
            sent = 0

            def body() -> Iterator[bytes]:
                nonlocal sent
                sent = 0
                for chunk in self._read(item.found, begin, end, CHUNK):
                    yield chunk
                    sent += len(chunk)
                    pace.add(len(chunk))

            response = self._line.open("PUT", put.url, put.headers, body, end - begin)
            answer = self._line.finish(response, put.url)
            if sent != end - begin:
                self._line.drop(response, put.url)  # answered early: the line is out of step
            if response.status != 200:
                raise_for(response.status, answer)
            etag = (response.getheader("ETag") or "").strip('"')
            if etag != expected:
                raise Transient(f"S3 has the ETag {etag[:64]!r} where {expected!r} is right")

        persist(attempt, self._stop, self._policy, what)
        self._progress(end - begin)

    def _single(self, item: _Item) -> None:
        assert item.grant is not None and item.grant.put is not None  # noqa: PT018 - by _start
        self._send(item, item.grant.put, 0, item.found.size, item.digest.etag)
        self._still(item.found)

    def _part(self, item: _Item, number: int) -> None:
        assert item.grant is not None
        begin = (number - 1) * self._part_size
        end = min(begin + self._part_size, item.found.size)
        md5 = item.digest.parts[number - 1].hex()
        self._send(item, item.grant.parts[number], begin, end, md5)
        with item.lock:
            item.uploaded.add(number)

    def _complete(self, item: _Item) -> None:
        assert item.grant is not None and item.grant.complete is not None  # noqa: PT018
        post = item.grant.complete
        self._still(item.found)
        what = f"{self._noun} {item.found.path!r}"
        parts, etag = item.digest.parts, item.digest.etag
        complete(self._line, post.url, post.headers, parts, etag, self._stop, what)
