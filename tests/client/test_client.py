"""The client: its answers are models, its refusals one exception, and waiting outlives restarts."""

from __future__ import annotations

import re
import threading
from datetime import datetime
from pathlib import Path

import pytest

from gateway import wire
from gateway.client import Client, CtsError, GatewayUnreachableError, patience
from gateway.errors import StoreError
from tests.api.gateway_fake import BEGIN, JOB, ME, FakeGateway, until
from tests.client.answering import answering


@pytest.fixture
def client(fake: FakeGateway) -> Client:
    """A client of the fake gateway."""
    return Client(str(fake.socket))


def test_admins_switch_sites(fake_admin: FakeGateway) -> None:
    client = Client(str(fake_admin.socket))
    client.switch_site("dev", active=False, reason="a&b = c?")
    site = client.sites()[0]
    assert (site.active, site.inactive_reason) == (False, "a&b = c?")
    client.switch_site("dev", active=True)
    assert client.sites()[0].active
    with pytest.raises(CtsError, match="no name of anything"):
        client.switch_site("../jobs", active=True)


def test_answers_are_models(fake: FakeGateway, client: Client) -> None:
    assert client.root().version == "0.1"
    assert client.whoami().user == ME
    assert client.sites()[0].cluster == "dev"
    assert client.images()[0].tag == client.image("ghcr.io/kbase/checksum:1.0").tag == "1.0"
    job = client.submit(JOB)
    assert job == "1"
    assert client.job(job).job_input["input_files"] == JOB["input_files"]
    assert client.status(job).state == "created"
    assert client.exit_codes(job) == [None, None]
    assert [c.id for c in client.containers(job)] == ["1_0", "1_1"]
    assert client.script(job) == [fake.jobs.script_text]
    assert [j.id for j in client.jobs(cluster="dev", state="created", after=BEGIN, limit=5)] == [
        "1"
    ]
    client.cancel(job)
    assert client.status(job).phase == "canceling"


def test_a_job_is_tried_out_without_being_submitted(fake: FakeGateway, client: Client) -> None:
    found = client.dry_run(JOB)
    assert found.containers[0].argv[:2] == ["/sum", "a b"]
    assert found.scripts == [fake.jobs.script_text]
    assert fake.jobs.calls == [("dry_run", JOB)]
    with pytest.raises(CtsError) as caught:
        client.dry_run(JOB | {"cpu": 1})
    assert caught.value.appcode == 30010
    assert fake.jobs.rows == {}


def test_ready_is_an_answer_also_when_it_is_no(fake: FakeGateway, client: Client) -> None:
    fake.info.well = False
    assert client.ready() == wire.Ready(
        ready=False, checks=[wire.ReadyLine(name="s3", ok=False, detail="2 ms")]
    )


def test_a_refusal_has_the_status_the_code_the_details_and_the_request(
    fake: FakeGateway, client: Client
) -> None:
    with pytest.raises(CtsError) as caught:
        client.submit(JOB | {"cpu": 1})
    error = caught.value
    assert (error.status, error.appcode) == (400, 30010)
    assert error.details[0].loc == ["cpu"]
    until(
        lambda: error.request_id in {line["request_id"] for line in fake.log.events("api.request")}
    )


@pytest.mark.parametrize("job", [{"a": float("nan")}, {"a": {1}}, {"a": object()}, {"a": b"x"}])
def test_what_is_no_json_is_refused_without_asking(
    fake: FakeGateway, client: Client, job: dict[str, object]
) -> None:
    with pytest.raises(CtsError, match="cannot be written as JSON") as caught:
        client.submit(job)
    assert caught.value.appcode == 30010
    assert fake.jobs.calls == []


@pytest.mark.parametrize("name", ["", "x", "1_0", "../whoami", "1/cancel", "1?x", "1\n", "\u0661"])
def test_an_id_that_is_none_is_never_sent(fake: FakeGateway, client: Client, name: str) -> None:
    for call in (
        client.job,
        client.status,
        client.exit_codes,
        client.containers,
        client.script,
        client.cancel,
        client.wait,
    ):
        with pytest.raises(CtsError) as caught:
            call(name)
        assert (caught.value.status, caught.value.appcode) == (404, 40040)
    with pytest.raises(CtsError):
        client.log(name, 0)
    assert fake.log.events("api.request") == []


@pytest.mark.parametrize(
    "name", ["a?x=1", "a#b", "a b", "a%2fb", "a%2e%2e/b", "\u00e9", "a..b", "..."]
)
def test_an_images_name_reaches_the_gateway_as_one_name(
    fake: FakeGateway, client: Client, name: str
) -> None:
    with pytest.raises(CtsError) as caught:
        client.image(name)
    assert caught.value.appcode == 40030
    assert fake.images.asked == [name]
    with pytest.raises(CtsError) as caught:
        client.approve_image(name)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "name",
    ["../../jobs/1/cancel", "..", ".", "a/./b", "a/../b", "", "a//b", "/a", "a/", "a\nb", "\udcff"],
)
def test_an_images_name_that_could_become_another_path_is_not_sent(
    fake: FakeGateway, client: Client, name: str
) -> None:
    for call in (client.image, client.approve_image):
        with pytest.raises(CtsError) as caught:
            call(name)
        assert caught.value.appcode == 30040
    assert fake.log.events("api.request") == []


def test_times_of_filters_have_their_zone(fake: FakeGateway, client: Client) -> None:
    client.jobs(before=datetime.fromisoformat("2026-01-31T13:00:00+01:00"))
    assert fake.jobs.calls[-1][1]["before"] == BEGIN


def test_accounting_takes_a_long_list_of_jobs_in_parts(fake: FakeGateway, client: Client) -> None:
    fake.info.rows = [wire.AcctRow(JobID="1")]
    names = [str(n) for n in range(1, 502)]
    assert len(client.accounting(job=names, start=BEGIN.isoformat())) == 3
    assert [name for asked in fake.info.asked for name in asked["refs"]] == names
    assert {asked["start"] for asked in fake.info.asked} == {BEGIN}
    assert len(client.accounting(job=[])) == len(client.accounting()) == 1


def test_nobody_at_the_socket_is_unreachable_and_nothing_was_sent(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("x" * 200)):
        with pytest.raises(GatewayUnreachableError, match="is ctsd running") as caught:
            Client(str(path)).submit(JOB)
        assert not caught.value.sent
        assert str(path) in str(caught.value)


def test_a_submission_that_got_no_answer_may_have_been_made_and_says_so() -> None:
    with (
        answering(b"") as path,
        pytest.raises(GatewayUnreachableError, match="may have been submitted") as caught,
    ):
        Client(path, timeout=0.3).submit(JOB)
    assert caught.value.sent


def test_a_submission_whose_answer_was_lost_is_sent_again_with_the_same_key() -> None:
    good = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"job_id": "7"}'
    seen: list[bytes] = []
    with answering(b"", b"", good, seen=seen) as path:
        assert Client(path).submit(JOB) == "7"
    keys = [re.findall(rb"(?i)\r\nidempotency-key: ([0-9a-f]{32})\r\n", asked) for asked in seen]
    assert len(keys) == 3
    assert keys[0] == keys[1] == keys[2] != []
    seen.clear()
    with answering(good, seen=seen) as path:
        Client(path).submit(JOB, idempotency_key="my key")
    assert b"my key\r\n" in seen[0]


def test_a_key_that_no_header_can_have_is_refused_without_asking(
    fake: FakeGateway, client: Client
) -> None:
    for key in ("a\nb", "\u00e9"):
        with pytest.raises(CtsError, match="printable ASCII") as caught:
            client.submit(JOB, idempotency_key=key)
        assert caught.value.appcode == 30001
    with pytest.raises(CtsError) as caught:
        client.submit(JOB, idempotency_key="k" * 256)
    assert caught.value.appcode == 30001
    assert fake.jobs.calls == []


def test_all_jobs_come_page_by_page(fake: FakeGateway, client: Client) -> None:
    for _ in range(7):
        fake.jobs.add()
    fake.jobs.add("bob")
    found = client.iter_jobs(page=3, labels=["a", "b=c"])
    assert [job.id for job in found] == ["7", "6", "5", "4", "3", "2", "1"]
    asked = [what["narrow"] for name, what in fake.jobs.calls if name == "list_jobs"]
    assert [narrow.cursor for narrow in asked] == [0, 5, 2]
    assert asked[0].labels == (("a", None), ("b", "c"))


def test_what_only_reads_is_asked_again_when_a_kept_connection_was_closed() -> None:
    body = b'{"user": "me", "roles": [], "allowed_paths": []}'
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with answering(b"", good) as path:
        assert Client(path).whoami().user == "me"
    with answering(b"") as path, pytest.raises(GatewayUnreachableError):
        Client(path).whoami()


def test_an_answer_that_breaks_off_is_unreachable_and_no_half_model() -> None:
    begun = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"user":'
    with answering(begun) as path, pytest.raises(GatewayUnreachableError):
        Client(path).whoami()


def test_fields_that_this_client_does_not_know_are_no_error() -> None:
    body = b'{"user": "me", "roles": [], "allowed_paths": [], "new": 1}'
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as path:
        assert Client(path).whoami().user == "me"


def test_waiting_gives_each_answer_and_the_last_one_back(fake: FakeGateway, client: Client) -> None:
    job = str(fake.jobs.add(phase="run"))
    seen: list[str] = []

    def look(status: wire.JobStatus) -> None:
        seen.append(status.phase)
        if len(seen) == 2:
            fake.jobs.rows[1].to("complete")

    assert client.wait(job, on_answer=look).state == "complete"
    assert seen == ["run", "run", "complete"]


def test_waiting_gives_up_in_time(fake: FakeGateway, client: Client) -> None:
    job = str(fake.jobs.add(phase="run"))
    with pytest.raises(TimeoutError, match=r"job 1 has not ended in 0\.05 s"):
        client.wait(job, timeout=0.05)


def test_waiting_outlives_a_restart_and_a_database_that_does_not_answer(
    fake: FakeGateway, client: Client
) -> None:
    job = str(fake.jobs.add(phase="run"))
    ended: list[str] = []
    waiter = threading.Thread(target=lambda: ended.append(client.wait(job).state))
    waiter.start()
    until(lambda: fake.jobs.asked[1] > 0)
    fake.jobs.raises = StoreError("locked")
    before = len(fake.log.events("api.store"))
    until(lambda: len(fake.log.events("api.store")) > before + 1)
    fake.jobs.raises = None
    fake.stop()
    fake.jobs.rows[1].to("complete")
    fake.start()
    waiter.join(30)
    assert ended == ["complete"]


def test_waiting_ends_when_nobody_has_answered_for_a_minute(
    fake: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = str(fake.jobs.add(phase="run"))
    monkeypatch.setattr(patience, "SECONDS", 0.05)
    fake.stop()
    with pytest.raises(GatewayUnreachableError):
        client.wait(job)
    fake.start()
    fake.jobs.raises = StoreError("locked")
    with pytest.raises(CtsError) as caught:
        client.wait(job)
    assert caught.value.status == 503


def test_waiting_does_not_bear_what_will_not_pass(fake: FakeGateway, client: Client) -> None:
    fake.jobs.add(phase="run")
    fake.jobs.raises = RuntimeError("bug")
    for wait in (lambda: client.wait("1"), lambda: list(client.follow_log("1", 0))):
        with pytest.raises(CtsError) as caught:
            wait()
        assert caught.value.status == 500


def test_following_a_log_outlives_a_restart_also_while_there_is_none_yet(
    fake: FakeGateway, client: Client
) -> None:
    job = fake.jobs.add(phase="pending")
    pieces: list[bytes] = []
    reader = threading.Thread(target=lambda: pieces.extend(client.follow_log(str(job), 0)))
    reader.start()
    until(lambda: fake.jobs.asked[job] > 1)
    fake.stop()
    fake.jobs.rows[job].logs[0, "stdout"] = b"hello"
    fake.start()
    until(lambda: pieces == [b"hello"])
    fake.jobs.rows[job].logs[0, "stdout"] += b" world"
    fake.jobs.rows[job].to("complete")
    reader.join(30)
    assert b"".join(pieces) == b"hello world"


def test_a_log_that_comes_with_the_end_of_the_job_is_read(
    fake: FakeGateway, client: Client
) -> None:
    job = fake.jobs.add(phase="run")
    plain = fake.jobs.status

    def ending(caller: object, job_id: int) -> wire.JobStatus:
        fake.jobs.rows[job].logs[0, "stdout"] = b"last words"
        if fake.jobs.rows[job].phase == "run":
            fake.jobs.rows[job].to("complete")
        return plain(caller, job_id)  # type: ignore[arg-type]

    fake.jobs.status = ending  # type: ignore[method-assign]
    assert b"".join(client.follow_log(str(job), 0)) == b"last words"


def test_a_closed_client_is_closed(fake: FakeGateway) -> None:
    with Client(str(fake.socket)) as opened:
        opened.whoami()
    with pytest.raises(RuntimeError, match="closed"):
        opened.whoami()
