"""The stream of events over the socket and TLS, and the routes of webhooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from gateway.api.streams import Streams
from tests.api.gateway_fake import ME, FakeGateway, until

Block = dict[str, str]


@contextmanager
def streaming(
    http: httpx.Client, query: str = "", last: str | None = None
) -> Iterator[Iterator[Block]]:
    """Open a stream; yields its blocks, the first of which says where it begins."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    with http.stream("GET", f"/events{query}", headers=headers, timeout=10) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield blocks(answer.iter_lines())


def blocks(lines: Iterator[str]) -> Iterator[Block]:
    """Read the form of server-sent events."""
    block: Block = {}
    for line in lines:
        if not line:
            yield block
            block = {}
        else:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")


def taken(stream: Iterator[Block], count: int) -> list[Block]:
    """The next events."""
    found: list[Block] = []
    while len(found) < count:
        block = next(stream)
        if "data" in block:
            found.append(block)
    return found


def streams(fake: FakeGateway) -> Streams:
    """Those of the server."""
    assert fake.app is not None
    found: Streams = fake.app.state.streams
    return found


@pytest.mark.parametrize("road", ["socket", "TLS"])
def test_each_event_of_ones_jobs_comes_once_as_it_happens_with_its_id(
    fake: FakeGateway, road: str
) -> None:
    happen = fake.happenings.happen
    happen(1, "created", user=ME)  # before
    with ExitStack() as stack:
        http = fake.http if road == "socket" else stack.enter_context(fake.over_tcp(fake.token()))
        stream = stack.enter_context(streaming(http))
        assert set(next(stream)) == {"retry", "id"}
        happen(2, "created", user="bob")
        ids = happen(1, "submitting", "pending", user=ME)
        happen(1, "run", user=ME, container=0)
        ids += happen(1, "complete", user=ME)
        found = taken(stream, 3)
    assert [block["id"] for block in found] == ids
    assert {block["event"] for block in found} == {"job"}
    body = json.loads(found[0]["data"])
    assert (body["id"], body["job_id"], body["state"], body["phase"]) == (
        *(ids[0], "1"),
        *("job_submitting", "submitting"),
    )


def test_who_comes_back_with_the_last_id_gets_the_rest_and_nothing_twice(fake: FakeGateway) -> None:
    ids = fake.happenings.happen(1, "created", "submitting", "pending", "run", user=ME)
    for query, last in (("", ids[1]), (f"?last_event_id={ids[1]}", None), ("?last_event_id=0", ids[1])):  # fmt: skip
        with streaming(fake.http, query, last) as stream:
            assert [block["id"] for block in taken(stream, 2)] == ids[2:]
    with streaming(fake.http, last="0") as stream:
        assert [block["id"] for block in taken(stream, 4)] == ids


def test_without_following_it_ends_with_what_there_is(fake: FakeGateway) -> None:
    ids = fake.happenings.happen(1, "created", "run", user=ME, read=False)
    answer = fake.http.get("/events?follow=false&last_event_id=0")
    found = [block["id"] for block in blocks(iter(answer.text.split("\n"))) if "data" in block]
    assert found == ids
    assert "data" not in fake.http.get("/events?follow=false").text


def test_filters_by_job_state_and_containers(fake: FakeGateway) -> None:
    job = fake.jobs.add()
    other = fake.jobs.add("bob")
    happen = fake.happenings.happen
    happen(job, "created", "run", "complete", user=ME)
    happen(job, "run", user=ME, container=3)
    happen(77, "created", user=ME)
    happen(other, "created", user="bob")

    def asked(query: str) -> list[tuple[str, str, Any]]:
        answer = fake.http.get(f"/events?follow=false&last_event_id=0{query}")
        assert answer.status_code == 200, answer.text
        data = [json.loads(b["data"]) for b in blocks(iter(answer.text.split("\n"))) if "data" in b]
        return [(row["job_id"], row["phase"], row["container"]) for row in data]

    me = str(job)
    assert asked(f"&job={job}") == [(me, p, None) for p in ("created", "run", "complete")]
    assert asked(f"&job={job}&containers=true")[-1] == (me, "run", 3)
    assert asked("&state=complete") == [(me, "complete", None)]
    assert asked("&state=job_submitted&state=complete") == [(me, "run", None), (me, "complete", None)]  # fmt: skip
    assert len(asked("")) == 4


@pytest.mark.parametrize(
    ("query", "status", "appcode"),
    [
        ("?everyone=true", 403, 20000),
        ("?job=99", 404, 40040),
        ("?job=x", 404, 40040),
        ("?state=over", 400, 30001),
        ("?last_event_id=x", 400, 30001),
        ("?last_event_id=-1", 400, 30001),
        ("?last_event_id=999", 400, 30001),
        ("?stat=run", 400, 30001),
    ],
)
def test_what_is_wrong_is_refused_before_a_stream_begins(
    fake: FakeGateway, query: str, status: int, appcode: int
) -> None:
    answer = fake.http.get(f"/events{query}")
    assert (answer.status_code, answer.json()["error"]["appcode"]) == (status, appcode)


def test_anothers_job_is_not_there_and_admins_have_everyones(
    fake: FakeGateway, fake_admin: FakeGateway
) -> None:
    other = fake.jobs.add("bob")
    assert fake.http.get(f"/events?job={other}").json()["error"]["appcode"] == 40040
    fake_admin.happenings.happen(5, "created", user="bob")
    text = fake_admin.http.get("/events?follow=false&last_event_id=0&everyone=true").text
    assert '"user":"bob"' in text


def test_a_sign_of_life_comes_with_the_id_to_go_on_from(fake: FakeGateway) -> None:
    streams(fake).heartbeat = 0.02
    with streaming(fake.http) as stream:
        begin = next(stream)["id"]
        assert next(stream) == {"id": begin, "": "nothing new"}
        fake.happenings.happen(2, "created", user="bob")
        until(lambda: next(stream)["id"] != begin)  # others' events need not be gone through again


def test_a_client_that_has_gone_leaves_nothing_behind(fake: FakeGateway) -> None:
    with streaming(fake.http) as stream:
        next(stream)
        assert streams(fake)._open == {ME: 1}
    until(lambda: not streams(fake)._open)
    until(lambda: not fake.happenings.feed._listeners)


def test_a_client_that_does_not_read_holds_up_nobody_and_gets_all_in_the_end(
    fake: FakeGateway,
) -> None:
    transport = httpx.HTTPTransport(uds=str(fake.socket), verify=False)
    other = httpx.Client(transport=transport, base_url="http://cts", timeout=30)
    phases = ["created"] * 3000
    with other, streaming(fake.http) as slow, streaming(other) as quick:
        next(slow)
        ids = [i for _ in range(4) for i in fake.happenings.happen(1, *phases, user=ME)]
        assert [block["id"] for block in taken(quick, len(ids))] == ids
        assert [block["id"] for block in taken(slow, len(ids))] == ids


def test_a_user_has_a_bounded_number_of_streams(fake: FakeGateway) -> None:
    streams(fake)._open[ME] = 32
    assert fake.http.get("/events").json()["error"]["appcode"] == 60000
    streams(fake)._open[ME] = 31
    with streaming(fake.http) as stream:
        next(stream)
    until(lambda: streams(fake)._open[ME] == 31)
    del streams(fake)._open[ME]


def test_streams_end_in_order_when_the_server_does(fake: FakeGateway) -> None:
    with streaming(fake.http) as stream:
        next(stream)
        fake.stop()
        assert [block for block in stream if "data" in block] == []
    fake.start()


def test_a_stream_ends_when_its_token_is_revoked(fake: FakeGateway) -> None:
    streams(fake).heartbeat = 0.02
    token = fake.token()
    with fake.over_tcp(token) as http, streaming(http) as stream:
        next(stream)
        next(stream)
        assert fake.http.delete(f"/tokens/{token.split('_')[1]}").status_code == 204
        assert [block for block in stream if "data" in block] == []


def test_head_has_the_kind_and_no_stream(fake: FakeGateway) -> None:
    answer = fake.http.head("/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b""


def test_a_webhook_is_registered_listed_tested_and_removed(fake: FakeGateway) -> None:
    body = {"url": "https://hooks.example.org/cts", "states": ["complete"]}
    made = fake.http.post("/webhooks", json=body).json()
    assert made["secret"].startswith("whsec_")
    listed = fake.http.get("/webhooks").json()["webhooks"]
    assert [(row["id"], row["state"], row["states"]) for row in listed] == [
        (made["id"], "active", ["complete"])
    ]
    assert made["secret"] not in json.dumps(listed)
    url = f"/webhooks/{made['id']}"
    assert fake.http.post(f"{url}/test").json() == {"delivered": True, "error": None}
    fake.happenings.broken = "it answered 500"
    assert fake.http.post(f"{url}/test").json() == {"delivered": False, "error": "it answered 500"}
    with fake.over_tcp(fake.token("bob")) as bob:
        assert bob.get("/webhooks").json() == {"webhooks": []}
        assert bob.delete(url).json()["error"]["appcode"] == 40000
        assert bob.post(f"{url}/test").json()["error"]["appcode"] == 40000
    assert fake.http.delete(url).status_code == 204
    assert fake.http.delete(url).json()["error"]["appcode"] == 40000
    assert {
        row.action for action in ("webhook.add", "webhook.delete") for row in fake.audits(action)
    } == {
        "webhook.add",
        "webhook.delete",
    }


@pytest.mark.parametrize(
    ("body", "appcode"),
    [
        ({}, 30010),
        ({"url": 1}, 30010),
        ({"url": "https://hooks.example.org/x", "user": "bob"}, 30010),
        ({"url": "http://169.254.169.254/"}, 30001),
        ({"url": "https://hooks.example.org/x", "states": ["over"]}, 30001),
        ({"url": "https://hooks.example.org/x", "secret": "whsec_short"}, 30001),
        ({"url": "https://hooks.example.org/\ud800"}, 30010),
    ],
)
def test_a_webhook_that_will_not_do_is_refused(
    fake: FakeGateway, body: dict[str, Any], appcode: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = fake.http.post("/webhooks", content=json.dumps(body), headers=headers)
    assert answer.json()["error"]["appcode"] == appcode, answer.text
    assert fake.http.get("/webhooks").json() == {"webhooks": []}


def test_admins_list_and_remove_everybodys_webhooks(fake_admin: FakeGateway) -> None:
    with fake_admin.over_tcp(fake_admin.token("bob")) as bob:
        made = bob.post("/webhooks", json={"url": "https://hooks.example.org/"}).json()
    listed = fake_admin.http.get("/admin/webhooks").json()["webhooks"]
    assert [(row["id"], row["user"]) for row in listed] == [(made["id"], "bob")]
    assert fake_admin.http.delete(f"/admin/webhooks/{made['id']}").status_code == 204
    assert fake_admin.http.get("/admin/webhooks").json() == {"webhooks": []}
