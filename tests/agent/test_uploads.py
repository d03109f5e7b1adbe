"""Stage-out against a store that does everything a store should not."""

from __future__ import annotations

import base64
import math
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.agent import crc64
from gateway.agent.crc import CRC32, CRC64NVME
from gateway.agent.files import Output
from gateway.agent.hashing import Digest
from gateway.agent.mailbox import Stop, Stopped
from gateway.agent.outputs import Found, scan
from gateway.agent.s3http import Policy
from gateway.agent.upload import Uploader, batches
from tests.agent.conftest import HASTY, Site
from tests.agent.fakes import SECRET, Handler, drop, error_in_200, etag_of, md5, silent, status

DATA = bytes(range(256)) * 13  # 3,328 bytes: four parts of 1,000
PARTS = [1000, 1000, 1000, 328]


class Send:
    """An upload of what is in the output directory."""

    policy = HASTY
    announce = False

    def __init__(self, site: Site, **files: bytes) -> None:
        self.site = site
        self.place = site.place()
        self.stop = Stop()
        for name, data in files.items():
            (self.place.outputs / name).write_bytes(data)
        self.done = 0
        self._lock = threading.Lock()
        self.outputs: list[Output] = []
        self.errors: list[str] = []

    def _count(self, count: int) -> None:
        with self._lock:
            self.done += count

    def file(self, name: str) -> Path:
        return self.place.outputs / name

    def run(self) -> Send:
        mailbox = self.site.mailbox("stage-out")
        found = scan(self.place.outputs, "/output_files")
        job = self.site.job()
        uploader = Uploader(
            job, mailbox, self.stop, self._count, self.policy, announce=self.announce
        )
        self.outputs, self.errors = uploader.outputs, uploader.errors
        uploader.send(found)
        return self

    def is_there(self, **files: bytes) -> None:
        """Every file is in the store, and the uploader says so with its checksums."""
        assert self.errors == []
        assert {o.path for o in self.outputs} == set(files)
        for output in self.outputs:
            data = files[output.path]
            stored = self.site.s3.objects[f"out/{output.path}"]
            assert stored.data == data
            assert (output.etag, output.size) == (stored.etag, len(data))
            if crc64.native() is None:
                right = None if self.announce else CRC32.encode(zlib.crc32(data))
                assert (output.crc64nvme, output.crc32) == (None, right)
            else:
                right = CRC64NVME.encode(crc64.portable(data))
                assert (output.crc64nvme, output.crc32) == (right, None)

    def fails(self) -> str:
        self.run()
        assert self.outputs == []
        assert len(self.errors) == 1
        assert "Signature" not in self.errors[0]
        return self.errors[0]


def grants(site: Site) -> int:
    return len(site.daemon.of("stage-out"))


def no_awscrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on most nodes."""
    monkeypatch.setattr("gateway.agent.crc64.native", lambda: None)


@pytest.fixture(autouse=True)
def how(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """By what the bytes are proved: a CRC that the store says, its ETags where it says none, or MD5s that are announced."""
    way: str = getattr(request, "param", "CRC64NVME")
    site.s3.says_crc = way != "MD5"
    monkeypatch.setattr(Send, "announce", way == "announced")
    if way == "CRC32":
        no_awscrt(monkeypatch)
    return way


each_way = pytest.mark.parametrize("how", ["CRC64NVME", "CRC32", "MD5", "announced"], indirect=True)
each_size = pytest.mark.parametrize("data", [DATA[:1000], DATA], ids=["single", "multipart"])


@each_way
def test_small_large_and_empty_outputs_arrive(site: Site) -> None:
    Send(site, a=b"abc", b=b"", c=DATA).run().is_there(a=b"abc", b=b"", c=DATA)
    assert site.s3.objects["out/c"].etag == etag_of(DATA, PARTS)


@each_way
def test_parts_that_an_earlier_attempt_has_sent_are_not_sent_again_where_they_have_the_same_bytes(
    site: Site,
) -> None:
    send = Send(site, a=DATA)
    site.daemon.begun("a", {1: DATA[:1000], 2: b"x" * 1000, 4: DATA[3000:-1]})
    send.run().is_there(a=DATA)
    sent = [
        int(headers["Content-Length"]) for method, _, headers in site.s3.requests if method == "PUT"
    ]
    assert sorted(sent) == [328, 1000, 1000]
    assert send.done == len(DATA)


def test_no_part_is_begun_with_a_url_that_is_about_to_expire(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = [0.0, math.inf]
    monkeypatch.setattr("gateway.agent.puts.usable_until", lambda _: until.pop(0))
    Send(site, a=DATA).run().is_there(a=DATA)
    assert grants(site) == 2
    assert site.s3.count("PUT") == 4


def test_names_that_a_url_or_a_shell_would_act_on_arrive_as_they_are(site: Site) -> None:
    files = {"a b$(x);'\"?&=#%41.txt": b"1", "ü\n": b"2"}
    Send(site, **files).run().is_there(**files)


@each_way
def test_the_part_size_itself_is_still_a_single_upload(site: Site, how: str) -> None:
    Send(site, a=DATA[:1000], b=DATA[:1001]).run()
    (request,) = site.daemon.of("stage-out")
    asked = {o["path"]: o for o in request["outputs"]}
    assert [(name, o["size"]) for name, o in asked.items()] == [("a", 1000), ("b", 1001)]
    parts = [base64.b64encode(md5(part)).decode() for part in (DATA[:1000], DATA[1000:1001])]
    if how == "announced":
        assert (asked["a"]["part_md5s"], asked["b"]["part_md5s"]) == (None, parts)
        return
    kind = CRC32 if how == "CRC32" else CRC64NVME
    value = kind.encode(kind.of(DATA[:1000], 0))
    assert asked["a"]["checksum"] == {"algorithm": kind.name, "value": value}
    assert asked["b"]["checksum"] == {"algorithm": kind.name, "value": None}
    assert site.s3.count("PUT", "out/a") == 1
    assert site.s3.count("PUT", "out/b") == 2


@each_way
def test_each_put_carries_exactly_the_granted_headers(site: Site, how: str) -> None:
    Send(site, a=DATA[:10], c=DATA).run()
    crc = CRC32.header if how == "CRC32" else CRC64NVME.header
    of_parts = {"Content-MD5"} if how == "announced" else set()
    of_one = of_parts | {crc}
    for method, key, headers in site.s3.requests:
        more = set() if method != "PUT" else of_one if key == "out/a" else of_parts
        assert set(headers) == {"Host", "Content-Length"} | more


@each_way
def test_an_output_in_parts_is_read_once_and_sent_as_it_is_hashed(
    site: Site, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    update = Digest.update

    def seen(digest: Digest, data: crc64.Data) -> None:
        if not site.s3.count("PUT") and how != "announced":
            assert site.daemon.of("stage-out")  # nothing is hashed before there are URLs
        taken.append(len(data))
        update(digest, data)

    monkeypatch.setattr(Digest, "update", seen)
    Send(site, x=DATA).run().is_there(x=DATA)
    again = sum(taken) - len(DATA)
    # A store that says no CRC is found out by the first parts: those are read again.
    assert 0 < again <= len(DATA) if how == "MD5" else again == 0


@each_way
def test_a_store_that_says_no_crc_is_given_md5s_from_then_on(site: Site, how: str) -> None:
    files = {f"n{n:03}": b"%d" % n for n in range(1020)}
    Send(site, **files).run().is_there(**files)
    last = site.daemon.of("stage-out")[-1]["outputs"][-1]
    assert ("md5" in last) == (how in ("MD5", "announced"))


@each_way
def test_more_outputs_than_one_grant_holds_are_asked_for_in_batches(site: Site) -> None:
    files = {f"n{n:03}": b"%d" % n for n in range(520)}
    send = Send(site, **files).run()
    send.is_there(**files)
    assert [len(request["outputs"]) for request in site.daemon.of("stage-out")] == [500, 20]


def early_denial(handler: Handler) -> None:
    """Say no before the body was read, and hang up."""
    handler.error(403, "AccessDenied")


def wrong_crc(handler: Handler) -> None:
    """Have other bytes than were sent, and say so."""
    body = bytes(reversed(handler.rfile.read(int(handler.headers["Content-Length"]))))
    handler.answer(200, ETag=f'"{md5(body).hex()}"', **handler.server.crcs(body))


def wrong_etag(handler: Handler) -> None:
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.answer(200, ETag='"d41d8cd98f00b204e9800998ecf8427e"')


@each_way
@each_size
@pytest.mark.parametrize(
    "fault",
    [
        drop,
        status(500, "InternalError"),
        status(503, "SlowDown"),
        status(429, "TooManyRequests"),
        status(400, "BadDigest"),
        status(400, "RequestTimeout"),
        wrong_etag,
        wrong_crc,
        silent(2),
    ],
    ids=["drop", "500", "503", "429", "digest", "400", "etag", "crc", "silent"],
)
def test_what_passes_is_tried_again(
    site: Site, data: bytes, fault: Callable[[Handler], None]
) -> None:
    site.s3.fault(fault, method="PUT", times=1)
    Send(site, x=data).run().is_there(x=data)
    assert grants(site) == 1


@each_size
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (status(503, "SlowDown"), "the storage answered 503 SlowDown"),
        (status(403, "AccessDenied"), "the storage answered 403 AccessDenied"),
        (status(400, "InvalidRequest"), "the storage answered 400 InvalidRequest"),
        (wrong_etag, "S3 has the ETag 'd41d8cd98f00b204e9800998ecf8427e' where"),
        (drop, "connection to the storage"),
    ],
    ids=["503", "403", "400", "etag", "drop"],
)
def test_what_does_not_pass_is_told(
    site: Site, data: bytes, fault: Callable[[Handler], None], text: str
) -> None:
    site.s3.fault(fault, method="PUT", times=1000)
    said = Send(site, x=data).fails()
    assert said.startswith("the output 'x' could not be uploaded: ")
    assert text in said
    assert "out/x" not in site.s3.objects


def test_one_output_that_fails_keeps_back_no_other(site: Site) -> None:
    site.s3.fault(status(400, "InvalidRequest"), key="out/bad", times=99)
    send = Send(site, bad=b"1", good=b"2", large=DATA).run()
    assert {o.path for o in send.outputs} == {"good", "large"}
    assert len(send.errors) == 1
    assert "'bad'" in send.errors[0]


@each_way
@each_size
def test_a_grant_that_has_expired_is_renewed(site: Site, data: bytes) -> None:
    site.daemon.grant_seconds = [-1]
    Send(site, x=data).run().is_there(x=data)
    assert grants(site) == 2


def test_a_denial_before_the_body_was_taken_is_renewed_too(site: Site) -> None:
    data = os.urandom(900)
    site.s3.fault(early_denial, method="PUT")
    Send(site, x=data).run().is_there(x=data)
    assert grants(site) == 2


@each_way
@pytest.mark.parametrize("same", [True, False])
def test_parts_that_are_there_are_sent_again_only_to_another_upload(site: Site, same: bool) -> None:
    site.daemon.same_upload = same
    site.s3.fault(status(403, "AccessDenied"), method="PUT", times=1)
    Send(site, x=DATA).run().is_there(x=DATA)
    assert grants(site) == 2
    assert not same or site.s3.count("PUT") == 4 + 1


def test_renewals_are_not_counted_as_long_as_parts_arrive(site: Site) -> None:
    good: list[int] = []

    def one_a_grant(handler: Handler) -> None:
        """Let one part through for each grant, as a slow line with a short grant does."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with site.s3.lock:
            through = len(good) < grants(site)
            if through:
                good.append(int(handler.query["partNumber"]))
        if not through:
            handler.error(403, "AccessDenied")
            return
        site.s3.uploads[handler.query["uploadId"]][int(handler.query["partNumber"])] = body
        handler.answer(200, ETag=f'"{md5(body).hex()}"')

    data = DATA * 2  # seven parts: more grants than a denial would be asked about
    site.s3.fault(one_a_grant, method="PUT", times=99)
    Send(site, x=data).run().is_there(x=data)
    assert sorted(good) == list(range(1, 8))
    assert grants(site) == 7


@each_way
def test_a_denial_of_the_completion_is_renewed_and_sends_no_part_again(site: Site) -> None:
    site.s3.fault(status(403, "AccessDenied"), method="POST")
    Send(site, x=DATA).run().is_there(x=DATA)
    assert site.s3.count("PUT") == 4
    assert grants(site) == 2


def lost(handler: Handler) -> None:
    """Complete an upload and lose the answer."""
    body = handler.rfile.read(int(handler.headers["Content-Length"]))
    assert b"<PartNumber>1</PartNumber>" in body
    parts = handler.server.uploads.pop(handler.query["uploadId"])
    data = b"".join(parts[n] for n in sorted(parts))
    handler.server.put(handler.key, data, [len(parts[n]) for n in sorted(parts)])
    drop(handler)


@each_way
@pytest.mark.parametrize(
    "fault",
    [error_in_200, drop, lost, status(500, "InternalError"), status(503, "SlowDown"), silent(2)],
    ids=["200-with-error", "drop", "lost", "500", "503", "silent"],
)
def test_a_completion_is_tried_until_it_is_known_to_be_done(
    site: Site, fault: Callable[[Handler], None]
) -> None:
    site.s3.fault(fault, method="POST", times=1)
    Send(site, x=DATA).run().is_there(x=DATA)
    assert site.s3.count("POST") == 2


def no_etag(handler: Handler) -> None:
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.answer(200, b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")


def other_crc(handler: Handler) -> None:
    """Complete an upload to an object of other bytes."""
    handler.rfile.read(int(handler.headers["Content-Length"]))
    etag = etag_of(DATA, PARTS)
    said = "".join(
        f"<Checksum{kind}>AAAA</Checksum{kind}>" for kind in (CRC64NVME.name, CRC32.name)
    )
    handler.answer(200, f"<x><ETag>{etag}</ETag>{said}</x>".encode())


def other_etag(handler: Handler) -> None:
    handler.rfile.read(int(handler.headers["Content-Length"]))
    handler.answer(200, b"<CompleteMultipartUploadResult><ETag>other-4</ETag></x>")


@each_way
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (error_in_200, "the storage answered 200 InternalError"),
        (no_etag, "without an ETag"),
        (other_etag, "S3 has the ETag 'other-4' where"),
        (other_crc, " 'AAAA' where "),
        (status(404, "NoSuchUpload"), "the storage answered 404 NoSuchUpload"),
        (status(400, "InvalidPart"), "the storage answered 400 InvalidPart"),
        (status(403, "AccessDenied"), "the storage answered 403 AccessDenied"),
    ],
    ids=["200-with-error", "no-etag", "other-etag", "other-crc", "no-upload", "no-part", "403"],
)
def test_a_completion_that_fails_for_good_is_told(
    site: Site, fault: Callable[[Handler], None], text: str
) -> None:
    site.s3.fault(fault, method="POST", times=99)
    assert text in Send(site, x=DATA).fails()


@each_way
@each_size
@pytest.mark.parametrize("change", ["grows", "is rewritten", "is replaced", "shrinks"])
def test_a_file_that_changes_while_it_is_uploaded_is_told(
    site: Site, data: bytes, change: str
) -> None:
    send = Send(site, x=data)
    path = send.file("x")

    def act(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        if change == "grows":
            path.write_bytes(data + b"!")
        elif change == "shrinks":
            os.truncate(path, 10)
        elif change == "is rewritten":
            path.write_bytes(data[::-1])
            os.utime(path, ns=(1, 1))  # another time, whatever the clock's step is
        else:
            path.with_name("y").write_bytes(data)
            path.with_name("y").rename(path)
        handler.error(500, "InternalError")

    site.s3.fault(act, method="PUT")
    assert send.fails() == "the output 'x' changed while it was uploaded"
    assert "out/x" not in site.s3.objects


def test_a_file_that_changes_after_its_last_byte_was_sent_is_told(site: Site) -> None:
    send = Send(site, x=b"abc")

    def change(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        send.file("x").write_bytes(b"abcd")
        handler.answer(200, ETag=f'"{md5(b"abc").hex()}"')

    site.s3.fault(change, method="PUT")
    assert send.fails() == "the output 'x' changed while it was uploaded"


@each_size
def test_a_file_that_vanishes_is_told_and_not_taken_for_a_broken_connection(
    site: Site, data: bytes
) -> None:
    send = Send(site, x=data)

    def remove(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        send.file("x").unlink(missing_ok=True)
        handler.error(500, "InternalError")

    site.s3.fault(remove, method="PUT", times=4)
    assert send.fails() == "the output 'x' cannot be read: No such file or directory"


def test_the_daemons_refusal_is_what_the_user_reads(site: Site) -> None:
    site.daemon.refuse = "containers 0 and 1 both write results/x"
    assert Send(site, x=b"abc", y=b"abc").fails() == site.daemon.refuse


def test_an_output_the_daemon_does_not_grant_is_told(site: Site) -> None:
    site.daemon.grant_nothing = True
    assert Send(site, x=b"abc").fails() == "the output 'x': the gateway granted no upload"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("grant", "timeout"),
        ("answer", "canceled"),
        ("back-off", "timeout"),
        ("completion", "canceled"),
    ],
)
def test_an_end_comes_through_wherever_the_upload_is(site: Site, where: str, reason: str) -> None:
    send = Send(site, x=DATA)
    send.policy = Policy(first=30.0, timeout=30.0)
    reached = threading.Event()

    def watch(then: Callable[[Handler], None]) -> Callable[[Handler], None]:
        def act(handler: Handler) -> None:
            reached.set()
            then(handler)

        return act

    if where == "grant":
        site.daemon.deaf = 99
        threading.Timer(0.05, reached.set).start()
    elif where == "completion":
        site.s3.fault(watch(silent(3)), method="POST", times=99)
    else:
        act = silent(3) if where == "answer" else status(500, "InternalError")
        site.s3.fault(watch(act), method="PUT", times=99)

    def end() -> None:
        reached.wait(10)
        setattr(send.stop, reason, True)

    threading.Thread(target=end).start()
    with pytest.raises(Stopped) as caught:
        send.run()
    assert caught.value.reason == reason
    assert send.outputs == []


def test_nothing_that_is_printed_holds_a_secret(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    site.s3.fault(drop, times=1)
    site.s3.fault(status(400, "InvalidRequest"), method="POST", times=1)
    assert "InvalidRequest" in Send(site, x=DATA).fails()
    printed = capfd.readouterr().err
    assert "output 'x': " in printed
    assert SECRET.partition("=")[2] not in printed
    assert site.s3.url not in printed


def test_a_request_has_500_files_or_10_000_parts_at_the_most(tmp_path: Path) -> None:
    small = [Found(f"s{n}", tmp_path / f"s{n}", 10, (0, 0, 0)) for n in range(1001)]
    assert [len(batch) for batch in batches(small, 100)] == [500, 500, 1]
    large = [Found(f"l{n}", tmp_path / f"l{n}", 400_000, (0, 0, 0)) for n in range(7)]
    assert [len(batch) for batch in batches(large, 100)] == [2, 2, 2, 1]
    assert [found.path for batch in batches(large, 100) for found in batch] == [
        found.path for found in large
    ]
    assert list(batches([], 100)) == []


def test_a_batch_ends_before_it_has_many_bytes_so_that_hashing_and_uploading_go_side_by_side() -> (
    None
):
    files = [Found(str(n), Path(str(n)), 200 << 20, (0, 0, 0)) for n in range(5)]
    assert [len(batch) for batch in batches(files, 256 << 20)] == [2, 2, 1]
    assert [len(batch) for batch in batches(files, 64 << 20, announce=True)] == [2, 2, 1]
    # What is in parts is hashed as it is sent.
    assert [len(batch) for batch in batches(files, 64 << 20)] == [5]
