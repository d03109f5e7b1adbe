"""The feed and the dispatcher: each transition to each subscriber, in order; a dead one delays no other; restarts lose none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from gateway.daemon.events import Dispatcher
from gateway.daemon.sending import Outcome
from gateway.errors import AppCode, GatewayError
from gateway.jobs import feed as feed_module
from gateway.jobs.caller import Caller
from gateway.jobs.events import Events
from gateway.jobs.feed import Feed, Wanted
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.states import Phase
from gateway.store import events as store
from gateway.store.jobs import now
from gateway.store.tables import Container, Job, Resend, Subscriber
from gateway.wire import Event
from tests.api.gateway_fake import until
from tests.daemon.fakes import Clock
from tests.daemon.world import ADA, ALICE, World

EVERYTHING = Wanted(containers=True)


def go(world: World, number: int, *phases: Phase) -> None:
    """Let a job come to phases, one after the other."""
    for phase in phases:
        with world.database.write() as session:
            job = session.get(Job, number)
            assert job is not None
            assert advance_job(session, job, phase)


def told(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Job and phase of each."""
    return [(event.job_id, event.phase) for event in events]


# The feed


def test_the_feed_has_each_transition_once_in_order_from_memory(world: World) -> None:
    feed = Feed(world.database)
    begin = feed.head
    number = world.add()
    go(world, number, Phase.SUBMITTING, Phase.PENDING)
    assert feed.read()
    assert not feed.read()
    page = feed.at_hand(EVERYTHING, begin)
    assert page is not None
    assert told(page.events) == [(str(number), p) for p in ("created", "submitting", "pending")]
    assert page.cursor == feed.head
    assert not page.more
    event = page.events[-1]
    assert (event.user, event.cluster, event.state) == ("alice", "dev", "job_submitted")
    assert feed.at_hand(EVERYTHING, page.cursor) == feed_module.Page([], page.cursor, False)


def test_who_is_behind_what_is_in_memory_reads_the_database_and_gets_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_KEPT", 4)
    monkeypatch.setattr(feed_module, "_PAGE", 3)
    feed = Feed(world.database)
    begin = feed.head
    for _ in range(4):
        go(world, world.add(), Phase.SUBMITTING, Phase.PENDING)
    feed.read()
    assert feed.at_hand(EVERYTHING, begin) is None
    found: list[str] = []
    cursor, more = begin, True
    while more:
        page = feed.page(EVERYTHING, cursor)
        found += [event.id for event in page.events]
        cursor, more = page.cursor, page.more
    assert found == [str(begin + n) for n in range(1, 13)]
    later = Feed(world.database)  # a daemon that was started again
    assert [e.id for e in later.page(EVERYTHING, begin).events] == found[:3]


@pytest.mark.parametrize("from_memory", [True, False])
def test_everybody_gets_what_was_asked_for_and_no_more(world: World, from_memory: bool) -> None:
    feed = Feed(world.database)
    begin = feed.head
    mine, other = world.add(), world.add(user="bob")
    go(world, mine, Phase.RUN, Phase.COMPLETE)
    go(world, other, Phase.RUN)
    with world.database.write() as session:
        container = session.get(Container, (mine, 0))
        assert container is not None
        advance_container(session, container, Phase.RUN)
    feed.read()
    reader = feed if from_memory else Feed(world.database)

    def asked(wanted: Wanted) -> list[tuple[str, str]]:
        return told(reader.page(wanted, begin).events)

    me, him = str(mine), str(other)
    assert asked(Wanted(user="alice")) == [(me, "created"), (me, "run"), (me, "complete")]
    assert asked(Wanted(user="alice", containers=True))[-1] == (me, "run")
    assert asked(Wanted(jobs=frozenset([other]))) == [(him, "created"), (him, "run")]
    assert asked(Wanted(phases=frozenset(["run"]))) == [(me, "run"), (him, "run")]
    assert asked(Wanted(user="nobody")) == []


def test_a_query_goes_through_a_bounded_number_of_transitions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_WINDOW", 2)
    begin = Feed(world.database).head
    for _ in range(3):
        world.add(user="bob")
    world.add()
    feed = Feed(world.database)
    page = feed.page(Wanted(user="alice"), begin)
    assert (page.events, page.cursor, page.more) == ([], begin + 2, True)
    page = feed.page(Wanted(user="alice"), page.cursor)
    assert [event.phase for event in page.events] == ["created"]
    assert not page.more


def test_listeners_are_called_when_there_is_something_new_and_not_after_their_end(
    world: World,
) -> None:
    feed = Feed(world.database)
    called: list[int] = []
    end = feed.listen(lambda: called.append(1))

    def broken() -> None:
        raise RuntimeError("Event loop is closed")

    feed.listen(broken)
    feed.read()
    world.add()
    feed.read()
    assert called == [1]
    end()
    world.add()
    feed.read()
    assert called == [1]


def test_others_jobs_are_for_admins_and_those_that_one_may_not_see_are_not_there(
    world: World,
) -> None:
    def see(caller: Caller, number: int) -> None:
        if number != 5:
            raise GatewayError(AppCode.NO_SUCH_JOB, "no")

    events = Events(Feed(world.database), see)

    def wanted(caller: Caller, **fields: Any) -> Wanted:
        asked: dict[str, Any] = {"jobs": [], "states": [], "everyone": False, "containers": False}
        return events.wanted(caller, **asked | fields)

    assert wanted(ALICE) == Wanted(user="alice")
    assert wanted(ALICE, jobs=[5], states=["job_submitted"]) == Wanted(
        jobs=frozenset([5]), phases=frozenset(["pending", "stage-in", "run"])
    )
    assert wanted(ADA, everyone=True) == Wanted()
    for fields, code in (
        ({"everyone": True}, AppCode.UNAUTHORIZED),
        ({"jobs": [6]}, AppCode.NO_SUCH_JOB),
        ({"jobs": [5] * 251}, AppCode.ILLEGAL_PARAMETER),
        ({"states": ["over"]}, AppCode.ILLEGAL_PARAMETER),
    ):
        with pytest.raises(GatewayError) as caught:
            wanted(ALICE, **fields)
        assert caught.value.code is code


def test_a_stream_begins_with_the_next_event_or_after_the_last_one_that_was_had(
    world: World,
) -> None:
    events = Events(Feed(world.database), lambda *_: None)
    world.add()
    head = events.begin(None)
    with world.database.read() as session:
        assert head == store.newest(session)
    assert events.begin(0) == 0
    assert events.begin(head) == head
    with pytest.raises(GatewayError, match=f"the newest is {head}"):
        events.begin(head + 1)


# The dispatcher


class Box:
    """A sender that keeps what it is sent, refuses it, or holds it up."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.error: str | None = None
        self.gone = False
        self.hold: threading.Event | None = None
        self.holding = threading.Event()

    def send(self, events: Sequence[Event], go_on: Callable[[], bool]) -> Outcome:
        if self.hold is not None:
            self.holding.set()
            assert self.hold.wait(20)
        for count, event in enumerate(events):
            if self.error is not None:
                return Outcome(count, self.error, self.gone)
            self.got.append(event.id)
        return Outcome(len(events))

    def close(self) -> None:
        pass


class Office:
    """A dispatcher at a world, with a box for each subscriber."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()
        self.boxes: dict[int, Box] = {}
        self.start()

    def start(self) -> None:
        """Begin as a daemon does that was killed before."""
        self.feed = Feed(self.world.database)
        self.dispatcher = Dispatcher(
            self.world.database, self.feed, self, timedelta(hours=72), threading.Event(),
            self.clock, pause=0,
        )  # fmt: skip

    def of(self, row: Subscriber) -> Box:
        return self.boxes.setdefault(row.id or 0, Box())

    def add(self, user: str | None = "alice", kind: str = "webhook", **fields: Any) -> int:
        """Put a subscriber there, from now on."""
        with self.world.database.write() as session:
            row = Subscriber(
                kind=kind, user=user, url="", states=[], created=now(),
                cursor=store.newest(session), resent=store.newest_resend(session),
            )  # fmt: skip
            for name, value in fields.items():
                setattr(row, name, value)
            session.add(row)
            session.flush()
            number = row.id or 0
        self.boxes[number] = Box()
        return number

    def row(self, number: int) -> Subscriber:
        """What is known of one."""
        with self.world.database.read() as session:
            row = session.get(Subscriber, number)
        assert row is not None
        return row

    def tick(self, seconds: float = 0) -> float:
        """Look once and wait until all is done."""
        self.clock.forward(seconds)
        wait = self.dispatcher.tick()
        self.idle()
        return wait

    def idle(self) -> None:
        """Wait until no thread is at anything."""
        until(lambda: not self.dispatcher._threads)


@pytest.fixture
def office(world: World) -> Office:
    """A dispatcher."""
    return Office(world)


def test_each_subscriber_gets_each_transition_once_in_order_of_what_it_wants(
    office: Office,
) -> None:
    everything, mine = office.add(None, name="all"), office.add()
    ends, nothing = office.add(states=["complete", "error"]), office.add("bob")
    begin = office.feed.head
    first, second = office.world.add(), office.world.add(user="carol")
    go(office.world, first, Phase.RUN, Phase.COMPLETE)
    go(office.world, second, Phase.RUN)
    for _ in range(3):
        office.tick()
    ids = [str(begin + n) for n in range(1, 6)]
    assert office.boxes[everything].got == ids
    assert office.boxes[mine].got == [ids[0], ids[2], ids[3]]
    assert office.boxes[ends].got == [ids[3]]
    assert office.boxes[nothing].got == []
    assert office.row(everything).cursor == int(ids[-1])
    assert office.row(mine).last_success is not None


def test_a_dead_one_delays_no_other_and_gets_all_when_it_is_back(office: Office) -> None:
    dead, well = office.add(), office.add()
    hold = office.boxes[dead].hold = threading.Event()
    number = office.world.add()
    office.dispatcher.tick()
    assert office.boxes[dead].holding.wait(10)
    go(office.world, number, Phase.RUN)
    until(lambda: (office.dispatcher.tick(), len(office.boxes[well].got) == 2)[1])
    assert office.boxes[dead].got == []
    hold.set()
    office.boxes[dead].hold = None
    office.idle()
    office.tick()
    assert office.boxes[dead].got == office.boxes[well].got


def test_many_that_fail_never_take_the_threads_of_those_that_work(office: Office) -> None:
    hold = threading.Event()
    for _ in range(12):
        office.boxes[office.add(failing_since=now())].hold = hold
    well = office.add()
    office.world.add()
    office.dispatcher.tick()
    until(lambda: len(office.boxes[well].got) == 1)
    assert sum(box.holding.is_set() for box in office.boxes.values()) <= 4
    hold.set()
    office.idle()


def test_what_fails_is_tried_again_later_and_later_and_nothing_is_left_out(office: Office) -> None:
    hook = office.add()
    office.boxes[hook].error = "it answered 500"
    number = office.world.add()
    waits = []
    for _ in range(10):
        office.tick(1000)
        waits.append(next(iter(office.dispatcher._places.values())).due - office.clock())
    assert waits[0] < 3
    assert 200 < waits[-1] <= 360
    row = office.row(hook)
    assert (row.failures, row.last_error, row.disabled) == (10, "it answered 500", None)
    assert row.failing_since is not None
    office.tick(1)
    assert office.row(hook).failures == 10  # it is not due yet
    go(office.world, number, Phase.RUN)
    office.boxes[hook].error = None
    office.tick(1000)
    assert len(office.boxes[hook].got) == 2
    row = office.row(hook)
    assert (row.failures, row.failing_since, row.last_error) == (0, None, None)


def test_a_daemon_that_was_killed_sends_what_it_had_not_sent(office: Office) -> None:
    hook = office.add()
    number = office.world.add()
    office.tick()
    office.boxes[hook].error = "down"
    go(office.world, number, Phase.RUN)
    office.tick()
    office.start()
    go(office.world, number, Phase.COMPLETE)
    office.boxes[hook].error = None
    office.tick()
    assert len(office.boxes[hook].got) == 3
    assert office.boxes[hook].got == sorted(set(office.boxes[hook].got), key=int)


def test_one_that_fails_for_days_is_disabled_with_the_reason_and_kafka_never_is(
    office: Office,
) -> None:
    long_ago = now() - timedelta(hours=73)
    hook = office.add(failing_since=long_ago, failures=9)
    kafka = office.add(None, "kafka", failing_since=long_ago, failures=9)
    office.boxes[hook].error = office.boxes[kafka].error = "it answered 500"
    office.world.add()
    office.tick()
    row = office.row(hook)
    assert row.disabled is not None
    assert row.last_error == "it answered 500"
    assert office.row(kafka).disabled is None
    office.boxes[hook].error = None
    office.tick(1000)
    assert office.boxes[hook].got == []  # nothing more is tried
    office.world.change(row, disabled=None, failing_since=None)  # its test worked
    office.tick(1000)
    assert len(office.boxes[hook].got) == 1


def test_one_that_says_it_is_gone_is_disabled_at_once(office: Office) -> None:
    hook = office.add()
    office.boxes[hook].error, office.boxes[hook].gone = "it answered 410 Gone", True
    office.world.add()
    office.tick()
    assert office.row(hook).disabled is not None


def test_one_that_is_removed_while_it_is_served_is_forgotten(office: Office) -> None:
    hook = office.add()
    hold = office.boxes[hook].hold = threading.Event()
    office.world.add()
    office.dispatcher.tick()
    assert office.boxes[hook].holding.wait(10)
    with office.world.database.write() as session:
        session.delete(session.get(Subscriber, hook))
    hold.set()
    office.idle()
    office.tick()
    office.tick()
    assert office.dispatcher._places == {}


def test_what_an_admin_sends_again_comes_once_more_after_what_is_new(office: Office) -> None:
    hook, other = office.add(), office.add("bob")
    number = office.world.add()
    office.tick()
    with office.world.database.write() as session:
        session.add(Resend(transition_id=store.newest(session), by="ada", time=now()))
    go(office.world, number, Phase.RUN)
    office.tick()
    office.tick()
    first, second = office.boxes[hook].got[:2]
    assert office.boxes[hook].got == [first, second, first]
    assert office.boxes[other].got == []


def test_a_road_that_is_not_allowed_any_more_counts_as_a_failure(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = office.add()

    def refused(row: Subscriber) -> Box:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER, "url: it points at x, which is not allowed here"
        )

    monkeypatch.setattr(office, "of", refused)
    office.world.add()
    office.tick()
    assert "not allowed here" in (office.row(hook).last_error or "")


def test_a_daemon_that_ends_cuts_nothing_longer_than_it_waits(office: Office) -> None:
    hook = office.add()
    hold = office.boxes[hook].hold = threading.Event()
    office.world.add()
    office.dispatcher.tick()
    assert office.boxes[hook].holding.wait(10)
    office.dispatcher.close(0.05)
    hold.set()
    office.idle()
