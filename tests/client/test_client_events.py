"""The client's events: in order, resumed by itself, refused where they must be."""

from __future__ import annotations

import threading

import pytest

from gateway.client import Client, CtsError, GatewayUnreachableError, patience
from gateway.client import events as events_module
from gateway.wire import Event
from tests.api.gateway_fake import ME, FakeGateway, until


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back at once."""
    monkeypatch.setattr(events_module, "_PAUSE", 0.02)


def test_events_come_typed_and_in_order_and_go_on_after_the_gateway_was_restarted(
    fake: FakeGateway,
) -> None:
    happen = fake.happenings.happen
    ids = happen(1, "created", user=ME)
    got: list[Event] = []
    done = threading.Event()

    def watch() -> None:
        with Client(str(fake.socket)) as client:
            for event in client.events(since="0"):
                got.append(event)
                if event.phase == "complete":
                    break
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    until(lambda: len(got) == 1)
    fake.stop()
    ids += happen(1, "run", user=ME)
    fake.start()
    until(lambda: len(got) == 2)
    ids += happen(1, "settling", "complete", user=ME)
    assert done.wait(10)
    assert [event.id for event in got] == ids
    assert (got[0].state, got[0].user, got[0].time.tzinfo is not None) == ("created", ME, True)


def test_without_following_it_ends(fake: FakeGateway) -> None:
    fake.happenings.happen(1, "created", "run", user=ME)
    with Client(str(fake.socket)) as client:
        assert [e.phase for e in client.events(since="0", follow=False)] == ["created", "run"]
        assert list(client.events(follow=False, state=["complete"])) == []


def test_what_is_refused_is_raised(fake: FakeGateway) -> None:
    with Client(str(fake.socket)) as client:
        with pytest.raises(CtsError) as caught:
            next(client.events(job=["99"]))
        assert caught.value.appcode == 40040
        with pytest.raises(CtsError) as caught:
            next(client.events(everyone=True))
        assert caught.value.appcode == 20000


def test_nobody_there_for_long_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.05)
    with Client("/no/such.sock") as client, pytest.raises(GatewayUnreachableError):
        next(client.events())


def test_webhooks_are_added_listed_tested_and_removed(fake: FakeGateway) -> None:
    with Client(str(fake.socket)) as client:
        made = client.add_webhook("https://hooks.example.org/", states=["complete"])
        assert made.secret.startswith("whsec_")
        assert [hook.id for hook in client.webhooks()] == [made.id]
        assert client.test_webhook(made.id).delivered
        client.delete_webhook(made.id)
        assert client.webhooks() == []
