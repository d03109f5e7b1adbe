"""The dispatcher: sees that every transition reaches every subscriber, in order, at least once.

One loop looks for new transitions and has each subscriber that is behind served by a thread of its own, one at a time: so
one that is dead, or slow, delays no other. Where each one is stands in the database: what was not sent when the daemon ended is
sent when it is back. https://microservices.io/patterns/data/transactional-outbox.html
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from gateway.daemon.sending import Outcome, Sender
from gateway.errors import ConfigError, GatewayError, StoreError
from gateway.jobs.feed import Feed, Wanted
from gateway.jobs.states import phases_named
from gateway.store import events as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Subscriber

log = structlog.get_logger()
_PERIOD = 5.0  # seconds between looks when nobody wakes the loop
_PAUSE = 0.02  # seconds at least between two looks: transitions come in bursts
_TURN = 5.0  # seconds that one subscriber is served at a time
_WELL, _FAILING = 8, 4  # threads for those that work, and for those that do not
_LONGEST = 300.0  # seconds between two tries
_UNNOTED = 5000  # transitions that were none for a subscriber, until that is noted in the database


class Senders(Protocol):
    """Makes the road to a subscriber."""

    def of(self, row: Subscriber) -> Sender:
        """Return it; GatewayError or ConfigError where there is none."""


@dataclass
class _Place:
    """Where a subscriber is, when it is next tried, and whether a thread is at it."""

    cursor: int
    resent: int
    due: float = 0.0
    busy: bool = False
    failing: bool = False


class Dispatcher:
    """Sends events.

    Parameters
    ----------
    give_up
        How long a webhook may fail until it is disabled. Kafka is never.
    wake
        Wakes the loop that calls `tick`.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed,
        senders: Senders,
        give_up: timedelta,
        wake: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        pause: float = _PAUSE,
    ) -> None:
        self._db = database
        self._feed = feed
        self._senders = senders
        self._give_up = give_up
        self._wake = wake
        self._clock = clock
        self._pause = pause
        self._places: dict[int, _Place] = {}
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()

    def tick(self) -> float:
        """Look for what is new, and have it sent; returns the seconds to wait."""
        self._closing.wait(self._pause)
        self._feed.read()
        with self._db.read() as session:
            rows = [row for row in store.subscribers(session) if row.disabled is None]
            resends = store.newest_resend(session)
        head, clock = self._feed.head, self._clock()
        waits = [_PERIOD]
        for row in rows:
            place = self._places.setdefault(row.id or 0, _Place(row.cursor, row.resent))
            if place.busy or (place.cursor >= head and place.resent >= resends):
                continue
            if place.due > clock:
                waits.append(place.due - clock)
            elif self._room(row):
                self._start(row, place)
        known = {row.id for row in rows}
        self._places = {
            number: place for number, place in self._places.items() if number in known or place.busy
        }
        return min(waits)

    def close(self, seconds: float = 2.0) -> None:
        """Begin nothing more, and wait a little for what is under way: what is cut short is sent again."""
        self._closing.set()
        until = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _room(self, row: Subscriber) -> bool:
        """Whether a thread may be had: those that fail never take the place of those that do not."""
        failing = row.failing_since is not None
        busy = [place for place in self._places.values() if place.busy and place.failing == failing]
        return len(busy) < (_FAILING if failing else _WELL)

    def _start(self, row: Subscriber, place: _Place) -> None:
        place.busy, place.failing = True, row.failing_since is not None
        thread = threading.Thread(
            target=self._turn, args=(row, place), name=f"events-{row.id}", daemon=True
        )
        self._threads.add(thread)
        thread.start()

    def _turn(self, row: Subscriber, place: _Place) -> None:
        try:
            self._note(row, place, self._serve(row, place))
        except StoreError as exc:
            log.warning("events.trouble", subscriber=row.id, error=str(exc))
            place.due = self._clock() + _PERIOD
        except Exception:
            log.exception("events.bug", subscriber=row.id)
            place.due = self._clock() + _LONGEST
        finally:
            place.busy = False
            self._threads.discard(threading.current_thread())
            self._wake.set()

    def _serve(self, row: Subscriber, place: _Place) -> Outcome:
        """Send what is later than its place, for some seconds at most; `done` of what is returned counts all."""
        ends = self._clock() + _TURN

        def go_on() -> bool:
            return self._clock() < ends and not self._closing.is_set()

        try:
            sender = self._senders.of(row)
        except (GatewayError, ConfigError) as exc:
            return Outcome(0, str(exc))
        total = 0
        try:
            wanted = wanted_by(row)
            while True:
                page = self._feed.page(wanted, place.cursor)
                if page.events:
                    outcome = sender.send(page.events, go_on)
                    total += outcome.done
                    if outcome.done:
                        place.cursor = int(page.events[outcome.done - 1].id)
                    if outcome.error is not None:
                        return Outcome(total, outcome.error, outcome.gone)
                    if outcome.done < len(page.events):
                        return Outcome(total)
                place.cursor = page.cursor
                if not page.more or not go_on():
                    break
            again = self._again(place, wanted, sender, go_on)
            return Outcome(total + again.done, again.error, again.gone)
        finally:
            sender.close()

    def _again(
        self, place: _Place, wanted: Wanted, sender: Sender, go_on: Callable[[], bool]
    ) -> Outcome:
        """Send what admins have sent once more; what a subscriber is still to get anyhow is left to that."""
        total = 0
        for number, event in self._feed.resent(place.resent):
            if wanted.takes(event) and int(event.id) <= place.cursor:
                outcome = sender.send([event], go_on)
                if outcome.error is not None:
                    return Outcome(total, outcome.error, outcome.gone)
                total += 1
            place.resent = number
        return Outcome(total)

    def _note(self, row: Subscriber, place: _Place, outcome: Outcome) -> None:
        """Keep where a subscriber is now, and how it is."""
        quiet = outcome.error is None and not outcome.done and place.resent == row.resent
        if quiet and place.cursor - row.cursor < _UNNOTED:
            return
        time_ = now()
        with self._db.write() as session:
            fresh = session.get(Subscriber, row.id)
            if fresh is None:
                return  # it was removed meanwhile
            fresh.cursor, fresh.resent = place.cursor, place.resent
            if outcome.error is not None:
                fresh.failing_since = fresh.failing_since or time_
                fresh.failures += 1
                fresh.last_error = outcome.error[:1000]
                place.due = self._clock() + _back_off(fresh.failures)
                lasts = time_ - fresh.failing_since
                if row.kind == "webhook" and (outcome.gone or lasts >= self._give_up):
                    fresh.disabled = time_
                log.warning(
                    "events.trouble",
                    subscriber=row.id,
                    error=outcome.error,
                    failures=fresh.failures,
                    disabled=fresh.disabled is not None,
                )
            elif outcome.done:
                fresh.last_success = time_
                fresh.failing_since = fresh.last_error = None
                fresh.failures = 0
            session.add(fresh)


def wanted_by(row: Subscriber) -> Wanted:
    """Say which events a subscriber gets: a user's webhook those of the user's jobs, the configuration's everyone's."""
    phases = frozenset(phase for word in row.states for phase in phases_named(word))
    return Wanted(user=row.user, phases=phases or None, containers=row.containers)


def _back_off(failures: int) -> float:
    return min(_LONGEST, 2.0 ** min(failures, 10)) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
