"""Sending to a webhook: signed, no redirect, bounded; against a real HTTP server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gateway.daemon.webhook import Hook
from gateway.jobs.hook_secrets import key_of, new_secret
from gateway.jobs.hook_urls import target_of
from gateway.wire import Event
from tests.daemon.receiver import Receiver, receiving

SECRET = new_secret()
NOW = 1_795_500_000.7


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes all."""
    with receiving() as found:
        yield found


def hook(receiver: Receiver, seconds: float = 10) -> Hook:
    """The road to it."""
    target = target_of(receiver.url, ["127.0.0.1:*"], allow_http=True)
    return Hook(target, key_of(SECRET), seconds, ssl.create_default_context(), lambda: NOW)


def event(number: int, container: int | None = None) -> Event:
    """An event."""
    return Event(
        id=str(number), job_id="12", container=container, user="alice", cluster="dev",
        state="complete", phase="complete", time=datetime(2026, 1, 31, 12, tzinfo=UTC),
    )  # fmt: skip


def always() -> bool:
    """Go on."""
    return True


def test_each_event_is_posted_in_order_signed_over_id_time_and_body(receiver: Receiver) -> None:
    road = hook(receiver)
    assert road.send([event(7), event(8, container=3)], always).done == 2
    road.close()
    first, second = receiver.requests
    assert first.path == "/hook"
    assert first.headers["content-type"] == "application/json"
    assert (first.body["type"], second.body["type"]) == ("job.state", "container.state")
    assert first.body["timestamp"] == "2026-01-31T12:00:00+00:00"
    assert first.body["data"]["job_id"] == "12"
    assert second.body["data"]["container"] == 3
    assert receiver.ids == ["7", "8"]
    assert first.headers["webhook-timestamp"] == "1795500000"
    signed = b"7.1795500000." + first.raw
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert first.headers["webhook-signature"] == wanted
    assert receiver.connections == 1  # it is kept


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (500, "it answered 500 Internal Server Error"),
        (404, "it answered 404 Not Found"),
        (302, "it answered 302 Found; redirects are not followed"),
    ],
)
def test_what_is_no_success_ends_it_there_and_no_redirect_is_followed(
    receiver: Receiver, status: int, says: str
) -> None:
    receiver.headers = {"Location": receiver.url}
    receiver.answers = [200, status]
    outcome = hook(receiver).send([event(1), event(2), event(3)], always)
    assert (outcome.done, outcome.error, outcome.gone) == (1, says, False)
    assert receiver.ids == ["1"]


def test_a_receiver_that_says_that_it_is_gone_for_good_is_believed(receiver: Receiver) -> None:
    receiver.status = 410
    assert hook(receiver).send([event(1)], always).gone


def test_a_receiver_that_drips_an_answer_has_a_time_for_all_of_it(receiver: Receiver) -> None:
    receiver.drip = 0.05  # each byte comes well within any time-out of a socket
    assert hook(receiver, 0.5).send([event(1)], always).error == "it gave no answer in 0.5 s"


def test_a_receiver_that_says_nothing_has_its_time(receiver: Receiver) -> None:
    receiver.hold = threading.Event()
    assert hook(receiver, 0.3).send([event(1)], always).error == "it gave no answer in 0.3 s"
    receiver.hold.set()


def test_a_large_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.large, receiver.status = 50 << 20, 200
    road = hook(receiver)
    assert road.send([event(1), event(2)], always).done == 2
    assert receiver.connections == 2


def test_a_kept_connection_that_was_closed_is_opened_again(receiver: Receiver) -> None:
    receiver.headers = {"Connection": "close"}
    road = hook(receiver)
    assert road.send([event(1), event(2)], always).done == 2
    assert receiver.ids == ["1", "2"]


def test_nobody_there_is_told(receiver: Receiver) -> None:
    target = target_of("http://127.0.0.1:1/", ["127.0.0.1:*"], allow_http=True)
    road = Hook(target, key_of(SECRET), 5, ssl.create_default_context())
    assert road.send([event(1)], always).error == "it cannot be reached: Connection refused"


def test_it_stops_between_two_events_when_its_time_is_over(receiver: Receiver) -> None:
    outcome = hook(receiver).send([event(1), event(2)], lambda: False)
    assert (outcome.done, outcome.error) == (1, None)


def test_a_test_event_says_that_it_is_one(receiver: Receiver) -> None:
    assert hook(receiver).probe() is None
    assert receiver.requests[0].body["type"] == "test"
    receiver.status = 500
    assert hook(receiver).probe() == "it answered 500 Internal Server Error"
