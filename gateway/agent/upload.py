"""Stage-out: ask for URLs, upload, and compare what S3 says it has with what was read.

An output of one part is hashed first: its checksum is part of the URL's signature, and S3 takes no other bytes. One in parts is
read once, each part hashed as it is sent; a wrong part is seen by S3's answer, before there is an object.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from . import crc
from .complete import Expected, complete, etag_of
from .files import Output, Storage
from .hashing import Digest, b64, joined_crc
from .mailbox import Asker, NoAnswer, Stop, Stopped
from .outputs import Found
from .parts import MOST_BYTES, MOST_PARTS, part_size_for
from .pool import Pool
from .puts import Grant, Put, read_grants
from .reading import Hashing, Reader, StageOutError
from .s3http import (
    CHUNK,
    Changed,
    Chunk,
    Denied,
    Line,
    Pace,
    Policy,
    Refused,
    Span,
    Transient,
    persist,
    raise_for,
)  # fmt: skip

BATCH = 500
BATCH_BYTES = 1 << 29  # the next are hashed while these are uploaded
WORKERS = 16
HASHERS = 4
_RENEWALS = 2


class _Sent(NamedTuple):
    """What S3 has: its ETag, and the digest of the bytes where it was made as they were sent."""

    etag: str
    digest: Optional[Digest]


class _Item:
    """An output on its way; `digest` is that of all of it, where it was hashed first."""

    def __init__(self, found: Found, digest: Optional[Digest], *, multipart: bool) -> None:
        self.found = found
        self.digest = digest
        self.multipart = multipart
        self.grant: Optional[Grant] = None
        self.renewals = 0
        self.renewed_at = 0
        self.sent: Dict[int, _Sent] = {}
        self.waiting = 0
        self.error: Optional[Exception] = None
        self.lock = threading.Lock()

    def request(self, kind: crc.Crc) -> Dict[str, object]:
        """Return what a stage-out request says of it."""
        about: Dict[str, object] = {"path": self.found.path, "size": self.found.size}
        digest = self.digest
        if digest is None or not digest.has_md5:
            value = None if digest is None else digest.crc
            return {**about, "checksum": {"algorithm": kind.name, "value": value}}
        crc64nvme = digest.crc if kind is crc.CRC64NVME else None
        parts = [b64(part) for part in digest.parts] if self.multipart else None
        return {**about, "md5": b64(digest.md5), "crc64nvme": crc64nvme, "part_md5s": parts}


def batches(
    files: Sequence[Found], part_size: int, *, announce: bool = False
) -> Iterator[List[Found]]:
    """Yield the outputs of one request each: so many files and parts that a letter stays far below what is read of one.

    And so many bytes that are hashed first that those of one are sent while those of the next are hashed.
    """
    batch: List[Found] = []
    parts = size = 0
    for found in files:
        count = max(1, -(-found.size // part_size_for(found.size, part_size)))
        first = found.size if announce or found.size <= part_size else 0
        full = len(batch) == BATCH or parts + count > MOST_PARTS or size + first > BATCH_BYTES
        if batch and full:
            yield batch
            batch, parts, size = [], 0, 0
        batch.append(found)
        size += first
        parts += count
    if batch:
        yield batch


class Uploader:
    """Uploads the outputs of one container; `outputs` and `errors` tell how far it came.

    `noun` is what errors call a file. With `announce` all are hashed first and their MD5s announced: what the store has
    already is left then.
    """

    def __init__(
        self,
        storage: Storage,
        mailbox: Asker,
        stop: Stop,
        progress: Callable[[int], None],
        policy: Optional[Policy] = None,
        noun: str = "output",
        announce: bool = False,
    ) -> None:
        self._noun = noun
        self._announce = announce
        self._by_md5 = announce  # or once the store has said no CRC
        self._crc = crc.for_uploads()
        self._part_size = storage.part_size
        self._mailbox = mailbox
        self._stop = stop
        self._progress = progress
        self._policy = policy or Policy()
        self._line = Line(storage.trusts, policy=self._policy)
        self._reader = Reader(stop, noun)
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
                *batches(files, self._part_size, announce=self._announce),
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
        """Begin to hash files that are hashed first; their places in the list are filled as it is done."""
        items: List[Optional[_Item]] = [None] * len(files)

        def done(place: int, hashing: Hashing) -> None:
            if hashing.error is None:
                digest = hashing.digest()
                items[place] = _Item(files[place], digest, multipart=hashing.multipart)
            else:
                self._fail(hashing.error)

        for place, found in enumerate(files):
            if found.size > MOST_BYTES:
                self._fail(
                    f"the {self._noun} {found.path!r} has {found.size} bytes; "
                    f"the storage takes {MOST_BYTES} at most"
                )
                continue
            if found.size > self._part_size and not self._announce:
                items[place] = _Item(found, None, multipart=True)
                continue
            hashing = Hashing(
                self._reader, found, self._part_size, crc=self._kind(), md5=self._by_md5
            )
            for number in range(len(hashing.spans)):

                def work(
                    place: int = place, hashing: Hashing = hashing, number: int = number
                ) -> None:
                    if hashing.hash(number):
                        done(place, hashing)

                self._hashers.submit(work)
        return items

    def _kind(self) -> Optional[crc.Crc]:
        """The CRC that is computed: none where the MD5 is, and it would not be sent beside that."""
        return None if self._by_md5 and self._crc is crc.CRC32 else self._crc

    def _fail(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        with self._lock:
            self.errors.append(text)

    def _ask(self, items: Sequence[_Item]) -> None:
        if not items:
            return
        wanted = [item.request(self._crc) for item in items]
        try:
            grants = read_grants(self._mailbox.ask("stage-out", self._stop, outputs=wanted))
        except NoAnswer as exc:
            self._fail(str(exc))
            return
        for item in items:
            self._start(item, grants.get(item.found.path))

    def _start(self, item: _Item, grant: Optional[Grant]) -> None:
        path, size = item.found.path, item.found.size
        if grant is not None and grant.there and item.digest is not None:
            self._progress(size)
            self._done(item, item.digest.etag, item.digest.crc)
            return
        if grant is None or (grant.complete is not None) != item.multipart:
            self._fail(f"the {self._noun} {path!r}: the gateway granted no upload")
            return
        count = -(-size // part_size_for(size, self._part_size))
        if item.multipart and set(grant.parts) != set(range(1, count + 1)):
            self._fail(
                f"the {self._noun} {path!r}: the gateway granted other parts than were asked for"
            )
            return
        if item.grant is not None and item.grant.upload_id != grant.upload_id:
            item.sent.clear()
            item.renewed_at = 0
        item.grant, item.error = grant, None
        if not item.multipart:
            item.waiting = 1
            self._pool.submit(lambda: self._work(item, 0))
            return
        left = [number for number in grant.parts if number not in item.sent]
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
        if item.error is not None:
            self._failed(item, item.error)

    def _failed(self, item: _Item, error: Exception) -> None:
        """Ask for a new grant where that may help; else tell."""
        path = item.found.path
        if len(item.sent) > item.renewed_at:
            item.renewals = 0  # it is only slow
        if isinstance(error, Denied) and item.renewals < _RENEWALS:
            item.renewals += 1
            item.renewed_at = len(item.sent)
            self._ask([item])
        elif isinstance(error, StageOutError):
            self._fail(str(error))
        else:
            self._fail(f"the {self._noun} {path!r} could not be uploaded: {error}")

    def _done(self, item: _Item, etag: str, value: Optional[str]) -> None:
        """Note an output that is there, with its CRC."""
        crcs = {self._crc.name.lower(): value}
        with self._lock:
            self.outputs.append(Output(item.found.path, item.found.size, etag, **crcs))

    def _single(self, item: _Item) -> None:
        assert item.grant is not None and item.grant.put is not None  # noqa: PT018 - by _start
        assert item.digest is not None
        digest = item.digest
        md5 = digest.etag if digest.has_md5 else None
        sent = self._send(item, item.grant.put, 0, item.found.size, md5=md5, known=digest)
        self._reader.still(item.found)
        self._done(item, sent.etag, digest.crc)

    def _part(self, item: _Item, number: int) -> None:
        assert item.grant is not None
        if time.monotonic() > item.grant.until:  # S3 would say so after the part
            raise Denied("its URL is about to expire")
        part = part_size_for(item.found.size, self._part_size)
        begin = (number - 1) * part
        end = min(begin + part, item.found.size)
        md5 = None if item.digest is None else item.digest.parts[number - 1].hex()
        sent = self._there(item, number, begin, end, md5=md5)
        if sent is None:
            sent = self._send(item, item.grant.parts[number], begin, end, md5=md5)
        with item.lock:
            item.sent[number] = sent

    def _there(
        self, item: _Item, number: int, begin: int, end: int, *, md5: Optional[str]
    ) -> Optional[_Sent]:
        """Return what S3 has of a part from an earlier attempt, where these are its bytes: its ETag is their MD5."""
        part = item.grant.has.get(number) if item.grant is not None else None
        if part is None or part.size != end - begin:
            return None
        digest: Optional[Digest] = None
        if md5 is None:
            digest = Digest(whole=True, part_sizes=None, crc=self._crc)
            self._reader.hash(item.found, begin, end, digest)
            md5 = digest.md5.hex()
        if part.etag != md5:
            return None
        self._progress(end - begin)
        return _Sent(part.etag, digest)

    def _send(
        self,
        item: _Item,
        put: Put,
        begin: int,
        end: int,
        *,
        md5: Optional[str],
        known: Optional[Digest] = None,
    ) -> _Sent:
        """Send some of an output. What S3 then has must have that MD5, or the CRC that is `known`, or was found on the way."""
        what = f"{self._noun} {item.found.path!r}"
        sent = 0

        def attempt() -> _Sent:
            pace = Pace(self._policy)
            digest = known

            def body() -> Iterator[Chunk]:
                nonlocal digest, sent
                self._progress(-sent)  # of an attempt that failed
                sent = 0
                chunks: Iterator[Chunk]
                if md5 is not None or known is not None:
                    chunks = self._reader.spans(item.found, begin, end, CHUNK)
                else:
                    digest = Digest(whole=self._by_md5, part_sizes=None, crc=self._crc)
                    chunks = self._reader.hashed(item.found, begin, end, CHUNK, digest)
                for chunk in chunks:
                    yield chunk
                    count = chunk.length if isinstance(chunk, Span) else len(chunk)
                    sent += count
                    self._progress(count)
                    pace.add(count)

            response = self._line.open("PUT", put.url, put.headers, body, end - begin)
            answer = self._line.finish(response, put.url)
            if sent != end - begin:
                self._line.drop(response, put.url)  # answered early: the line is out of step
            if response.status != 200:
                raise_for(response.status, answer)
            if sent != end - begin:
                raise Transient(f"S3 answered after {sent} of {end - begin} bytes")
            etag = (response.getheader("ETag") or "").strip('"')
            if md5 is not None:
                _equal("ETag", etag, md5)
                return _Sent(etag, None)
            assert digest is not None
            told = response.getheader(self._crc.header)
            if told is not None:
                _equal(self._crc.name, told, digest.crc or "")
            else:
                _equal("ETag", etag, self._md5(item, begin, end, digest))
            return _Sent(etag, digest)

        try:
            return persist(attempt, self._stop, self._policy, what)
        except BaseException:
            self._progress(-sent)
            raise

    def _md5(self, item: _Item, begin: int, end: int, digest: Digest) -> str:
        """Return the MD5 of what was sent to a store that says no CRC; what comes after it has its MD5 made on the way."""
        self._by_md5 = True
        if not digest.has_md5:
            digest = Digest(whole=True, part_sizes=None, crc=None)
            self._reader.hash(item.found, begin, end, digest)
        return digest.md5.hex()

    def _complete(self, item: _Item) -> None:
        assert item.grant is not None and item.grant.complete is not None  # noqa: PT018
        post = item.grant.complete
        self._reader.still(item.found)
        what = f"{self._noun} {item.found.path!r}"
        sent = [item.sent[number] for number in sorted(item.sent)]
        etags = [one.etag for one in sent]
        if item.digest is None:
            value = joined_crc([one.digest for one in sent if one.digest is not None])
        else:
            value = item.digest.crc
        expected = Expected(etag_of(etags), self._crc, value)
        complete(self._line, post.url, post.headers, etags, expected, self._stop, what)
        self._done(item, expected.etag, value)


def _equal(what: str, found: str, right: str) -> None:
    if found != right:
        raise Transient(f"S3 has the {what} {found[:64]!r} where {right!r} is right")
