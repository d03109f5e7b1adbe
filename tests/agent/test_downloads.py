"""Stage-in against a store that does everything a store should not."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable

import pytest

from gateway.agent.crc import CRC64NVME
from gateway.agent.crc64 import crc64nvme
from gateway.agent.download import Downloader, StageInError
from gateway.agent.files import Input
from gateway.agent.mailbox import Stop, Stopped
from gateway.agent.s3http import Policy
from tests.agent.conftest import HASTY, Site
from tests.agent.fakes import (
    SECRET,
    Handler,
    corrupted,
    drop,
    misjudged,
    silent,
    stalled,
    status,
    together,
    trickle,
    truncated,
)

DATA = bytes(range(256)) * 40
BIG, RANGE = 5000, 3000  # from 5,000 bytes on in ranges of 3,000


class Fetch:
    """A download of some inputs; what arrived and what was counted."""

    def __init__(self, site: Site, *inputs: Input, policy: Policy = HASTY) -> None:
        self.site = site
        self.place = site.place()
        self.inputs = inputs
        self.stop = Stop()
        self.done = 0
        self._policy = policy
        self._lock = threading.Lock()

    def _count(self, count: int) -> None:
        with self._lock:
            self.done += count

    def run(self) -> Fetch:
        mailbox = self.site.mailbox("stage-in")
        job = self.site.job()
        downloader = Downloader(
            job, self.place, mailbox, self.stop, self._count, self._policy, BIG, RANGE
        )
        downloader.fetch(self.inputs)
        return self

    def fails(self) -> str:
        with pytest.raises(StageInError) as caught:
            self.run()
        assert self.there() == {}
        assert "Signature" not in str(caught.value)
        return str(caught.value)

    def there(self) -> dict[str, bytes]:
        root = self.place.inputs
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def small(site: Site) -> Input:
    return site.input(DATA[:4000], "small")


def large(site: Site) -> Input:
    return site.input(DATA, "large")


each_size = pytest.mark.parametrize("make", [small, large])
Make = Callable[[Site], Input]


def test_small_large_and_empty_inputs_arrive_read_only_under_their_names(site: Site) -> None:
    fetch = Fetch(
        site,
        site.input(b"abc", "a/b c/'x'.txt"),
        site.input(b"", "empty"),
        site.input(DATA, "large"),
    ).run()
    assert fetch.there() == {"a/b c/'x'.txt": b"abc", "empty": b"", "large": DATA}
    assert fetch.done == 3 + len(DATA)
    assert {p.stat().st_mode & 0o777 for p in fetch.place.inputs.rglob("*") if p.is_file()} == {
        0o444
    }
    assert list(fetch.place.partial.iterdir()) == []


def test_more_inputs_than_one_grant_holds_are_asked_for_in_batches(site: Site) -> None:
    inputs = [site.input(b"%d" % n, f"n{n}") for n in range(520)]
    fetch = Fetch(site, *inputs).run()
    assert fetch.there() == {f"n{n}": b"%d" % n for n in range(520)}
    assert [len(request["inputs"]) for request in site.daemon.of("stage-in")] == [500, 20]


def test_the_ranges_of_one_large_input_are_fetched_at_the_same_time(site: Site) -> None:
    item = large(site)
    site.s3.fault(together(4), method="GET", times=4)
    assert Fetch(site, item).run().there() == {"large": DATA}
    asked = sorted(headers["Range"] for _, _, headers in site.s3.requests)
    assert asked == ["bytes=0-2999", "bytes=3000-5999", "bytes=6000-8999", "bytes=9000-10239"]


@pytest.mark.parametrize("parts", [[len(DATA)], [5120, 5120], [6000, 100, 4140], [1] * 9 + [10231]])
def test_multipart_objects_are_checked_by_their_parts_equal_or_not(
    site: Site, parts: list[int]
) -> None:
    item = site.input(DATA, "large", parts)
    assert item.etag.endswith(f"-{len(parts)}")
    assert Fetch(site, item).run().there() == {"large": DATA}


def test_parts_of_other_sizes_than_the_gateway_knows_are_an_error(site: Site) -> None:
    item = site.input(DATA, "large", [5120, 5120])._replace(part_sizes=(5000, 5240))
    assert "its MD5 is wrong" in Fetch(site, item).fails()


@pytest.mark.parametrize("size", [4000, len(DATA)])
def test_an_object_that_has_a_crc64nvme_alone_is_checked_by_it(site: Site, size: int) -> None:
    data = DATA[:size]
    right = CRC64NVME.encode(crc64nvme(data))
    item = site.input(data, "x", [size - 1, 1], known=False, crc=right)
    assert Fetch(site, item).run().there() == {"x": data}
    wrong = CRC64NVME.encode(crc64nvme(data) ^ 1)
    assert "its CRC64NVME is wrong" in Fetch(site, item._replace(crc64nvme=wrong)).fails()


def test_an_object_with_a_right_md5_and_another_crc64nvme_than_given_is_an_error(
    site: Site,
) -> None:
    item = site.input(b"abc", "x", crc=CRC64NVME.encode(1))
    assert "its CRC64NVME is wrong" in Fetch(site, item).fails()


def test_an_object_that_nothing_could_check_is_not_even_fetched(site: Site) -> None:
    item = site.input(DATA, "x", [5120, 5120], known=False)
    assert "no checksum" in Fetch(site, item).fails()
    assert site.s3.requests == []


@each_size
@pytest.mark.parametrize(
    "fault",
    [
        drop,
        truncated,
        status(500, "InternalError"),
        status(503, "SlowDown"),
        status(429, "TooManyRequests"),
        status(400, "RequestTimeout"),
        misjudged(5),
        misjudged(1 << 40),
        stalled(2),
        silent(2),
        trickle(2),
    ],
    ids=[
        "drop",
        "truncated",
        "500",
        "503",
        "429",
        "400",
        "shorter",
        "longer",
        "stalled",
        "silent",
        "trickle",
    ],
)
def test_what_passes_is_tried_again(
    site: Site, make: Make, fault: Callable[[Handler], None]
) -> None:
    item = make(site)
    site.s3.fault(fault, method="GET", times=1)
    fetch = Fetch(site, item).run()
    assert fetch.there() == {item.path: DATA[: item.size]}
    assert fetch.done == item.size


def test_a_broken_transfer_goes_on_where_it_broke(site: Site) -> None:
    item = small(site)
    site.s3.fault(truncated, method="GET")
    Fetch(site, item).run()
    assert [headers.get("Range") for _, _, headers in site.s3.requests] == [None, "bytes=2000-3999"]


@each_size
def test_a_corrupted_input_is_fetched_again(site: Site, make: Make) -> None:
    item = make(site)
    site.s3.fault(corrupted, method="GET", times=2)
    fetch = Fetch(site, item).run()
    assert fetch.there() == {item.path: DATA[: item.size]}
    assert fetch.done == item.size


def test_an_input_that_stays_corrupted_is_an_error_after_three_rounds(site: Site) -> None:
    item = small(site)
    site.s3.fault(corrupted, method="GET", times=99)
    assert "its MD5 is wrong after the transfer" in Fetch(site, item).fails()
    assert site.s3.count("GET") == 3


@each_size
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (status(404, "NoSuchKey"), "is not there any more"),
        (status(412, "PreconditionFailed"), "changed since submission"),
        (status(400, "InvalidRequest"), "cannot be read: the storage answered 400 InvalidRequest"),
        (status(501, "NotImplemented"), "cannot be read"),
        (status(503, "SlowDown"), "could not be fetched: the storage answered 503 SlowDown"),
        (status(403, "AccessDenied"), "may not be read: the storage answered 403 AccessDenied"),
        (drop, "could not be fetched: connection to the storage"),
        (misjudged(5), "could not be fetched: an answer of 5 bytes where"),
    ],
    ids=["404", "412", "400", "501", "503", "403", "drop", "shorter"],
)
def test_what_does_not_pass_is_told_and_leaves_nothing(
    site: Site, make: Make, fault: Callable[[Handler], None], text: str
) -> None:
    item = make(site)
    site.s3.fault(fault, method="GET", times=1000)
    said = Fetch(site, item).fails()
    assert text in said
    assert repr(item.path) in said
    assert site.s3.count("GET") <= 4 * 6  # ranges, attempts


def test_a_store_that_never_answers_is_an_error(site: Site) -> None:
    item = small(site)
    site.s3.fault(silent(5), method="GET", times=99)
    policy = HASTY._replace(attempts=2, timeout=0.1)
    assert "did not answer in time" in Fetch(site, item, policy=policy).fails()


def test_an_object_that_was_replaced_since_submission_is_an_error(site: Site) -> None:
    item = small(site)
    site.s3.put("in/1", DATA[:4000][::-1])
    assert "changed since submission" in Fetch(site, item).fails()


@each_size
def test_a_grant_that_has_expired_is_renewed(site: Site, make: Make) -> None:
    item = make(site)
    site.daemon.grant_seconds = [-1]
    assert Fetch(site, item).run().there() == {item.path: DATA[: item.size]}
    assert [request["inputs"] for request in site.daemon.of("stage-in")] == [[1], [1]]


def test_a_renewal_asks_for_what_is_left_of_its_batch(site: Site) -> None:
    inputs = [site.input(b"abc", f"x{n}") for n in range(3)]
    fault = status(403, "AccessDenied")
    Fetch(site, inputs[0]).run()
    site.s3.fault(fault, key="in/3")
    Fetch(site, *inputs).run()
    first, second = site.daemon.of("stage-in")[1:]
    assert first["inputs"] == [1, 2, 3]
    assert 3 in second["inputs"]
    assert first["seq"] < second["seq"]


def test_a_denial_that_renewals_do_not_change_is_asked_about_twice_only(site: Site) -> None:
    item = small(site)
    site.s3.fault(status(403, "AccessDenied"), times=99)
    assert "may not be read" in Fetch(site, item).fails()
    assert len(site.daemon.of("stage-in")) == 3


def test_the_daemons_refusal_is_what_the_user_reads(site: Site) -> None:
    item = small(site)
    site.daemon.refuse = "the job has ended"
    assert Fetch(site, item).fails() == "the job has ended"


def test_an_input_the_daemon_does_not_grant_is_an_error(site: Site) -> None:
    item = small(site)
    site.daemon.grant_nothing = True
    assert "granted not all inputs" in Fetch(site, item).fails()


def test_more_bytes_than_the_node_has_free_are_not_begun(site: Site) -> None:
    item = small(site)._replace(size=1 << 60)
    assert f"the inputs have {1 << 60} bytes, the node has" in Fetch(site, item).fails()
    assert site.s3.requests == []


@each_size
def test_a_disk_that_takes_no_more_is_told_as_such(site: Site, make: Make) -> None:
    item = make(site)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fetch = Fetch(site, item)
    full = site.s3.objects["in/1"]
    big = full.data * 800  # 3 or 8 MB; the limit leaves room for what pytest itself writes
    site.s3.put("in/1", big)
    wanted = item._replace(size=len(big), etag=site.s3.objects["in/1"].etag)
    fetch.inputs = (wanted,)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        assert "the inputs cannot be written: File too large" in fetch.fails()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "."])
def test_an_input_whose_name_leads_out_is_refused(site: Site, path: str) -> None:
    item = site.input(b"abc", path)
    with pytest.raises(StageInError):
        Fetch(site, item).run()
    assert not (site.base / "x").exists()


def test_a_file_where_another_input_needs_a_directory_is_told(site: Site) -> None:
    fetch = Fetch(site, site.input(b"abc", "a"), site.input(b"abc", "a/b"))
    with pytest.raises(StageInError, match=r"input 'a(/b)?': "):
        fetch.run()


def test_one_bad_input_ends_the_others_and_no_name_shows_half_a_file(site: Site) -> None:
    slow, gone = site.input(DATA[:4000], "slow"), site.input(b"abc", "gone")
    site.s3.fault(stalled(3), key="in/1", times=99)
    site.s3.fault(status(404, "NoSuchKey"), key="in/2", times=99)
    assert "'gone' is not there any more" in Fetch(site, slow, gone).fails()


@pytest.mark.parametrize("where", ["grant", "transfer", "answer", "back-off"])
@pytest.mark.parametrize(("make", "reason"), [(small, "timeout"), (large, "canceled")])
def test_an_end_comes_through_wherever_the_download_is(
    site: Site, make: Make, where: str, reason: str
) -> None:
    item = make(site)
    fetch = Fetch(site, item, policy=Policy(first=30.0, timeout=30.0))
    reached = threading.Event()

    def watch(then: Callable[[Handler], None]) -> Callable[[Handler], None]:
        def act(handler: Handler) -> None:
            reached.set()
            then(handler)

        return act

    if where == "grant":
        site.daemon.deaf = 99
        threading.Timer(0.05, reached.set).start()
    else:
        act = {
            "transfer": stalled(3),
            "answer": silent(3),
            "back-off": status(500, "InternalError"),
        }
        site.s3.fault(watch(act[where]), times=99)

    def end() -> None:
        reached.wait(10)
        setattr(fetch.stop, reason, True)

    threading.Thread(target=end).start()
    with pytest.raises(Stopped) as caught:
        fetch.run()
    assert caught.value.reason == reason
    assert fetch.there() == {}


def test_nothing_that_is_printed_holds_a_secret(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    item = small(site)
    site.s3.fault(drop, times=1)
    site.s3.fault(status(500, "InternalError"), times=1)
    Fetch(site, item).run()
    printed = capfd.readouterr().err
    assert "input 'small': the storage answered 500 InternalError; again in" in printed
    assert SECRET.partition("=")[2] not in printed
    assert site.s3.url not in printed


def test_connections_are_kept_alive(site: Site) -> None:
    inputs = [site.input(b"abc", f"x{n}") for n in range(100)]
    Fetch(site, *inputs).run()
    assert len(site.s3.connections) <= 16


def test_a_kept_connection_that_the_store_closed_costs_no_attempt(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    def polite(handler: Handler) -> None:
        handler.close_connection = True  # after a whole answer that did not say so
        handler.answer(200, b"abc", ETag='"x"')

    inputs = [site.input(b"abc", f"x{n}") for n in range(100)]
    site.s3.fault(polite, method="GET", times=60)
    Fetch(site, *inputs).run()
    assert "again in" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "parts", [[5000, 5000, 240], [100, 200, 9940], [0, 2900, 0, 100, 7240], [10240, 0]]
)
def test_parts_are_fetched_and_hashed_as_they_lie_in_the_object(
    site: Site, parts: list[int]
) -> None:
    assert Fetch(site, site.input(DATA, "large", parts)).run().there() == {"large": DATA}
    site.s3.fault(corrupted, method="GET", times=1)
    assert Fetch(site, site.input(DATA, "large", parts)).run().there() == {"large": DATA}


@each_size
def test_a_node_with_a_fast_crc_checks_what_the_store_keeps_of_the_object(
    site: Site, make: Make
) -> None:
    item = make(site)
    data = site.s3.objects[f"in/{item.id}"].data
    right, wrong = CRC64NVME.encode(crc64nvme(data)), CRC64NVME.encode(crc64nvme(data + b"x"))
    site.s3.fault(corrupted, method="GET", times=1)
    assert Fetch(site, item._replace(stored_crc64nvme=right)).run().there() == {item.path: data}
    site.s3.heal()
    said = Fetch(site, item._replace(stored_crc64nvme=wrong)).fails()
    assert "its CRC64NVME is wrong after the transfer" in said


def test_what_the_store_keeps_is_left_by_a_node_without_a_fast_crc(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.agent.crc64.native", lambda: None)
    item = large(site)._replace(stored_crc64nvme="AAAAAAAAAAA=")
    assert Fetch(site, item).run().there() == {"large": DATA}
