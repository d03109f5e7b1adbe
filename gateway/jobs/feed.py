"""The feed of events: each transition once, in the order of the ids, from memory for those who keep up.

The table of transitions is the outbox. The newest are held in memory, so that any number of listeners who are up to date
cost the database nothing; who is behind reads pages of the table until caught up.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway import wire
from gateway.jobs.states import Phase
from gateway.store import events as store
from gateway.store.db import Database

_KEPT = 4000  # events in memory at most; half of them are kept when it is full
_PAGE = 500  # events of one page
_WINDOW = 20_000  # transitions that one query goes through


@dataclass(frozen=True)
class Wanted:
    """Which events somebody is told of; None is no bound."""

    user: str | None = None
    jobs: frozenset[int] | None = None
    phases: frozenset[str] | None = None
    containers: bool = False

    def takes(self, event: wire.Event) -> bool:
        """Whether an event is among them."""
        return (
            (self.containers or event.container is None)
            and self.user in (None, event.user)
            and (self.jobs is None or int(event.job_id) in self.jobs)
            and (self.phases is None or event.phase in self.phases)
        )


@dataclass(frozen=True)
class Page:
    """Some events in order; all up to `cursor` are told then. `more`: there are more already."""

    events: list[wire.Event]
    cursor: int
    more: bool


class Feed:
    """Events of one database. All may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        with database.read() as session:
            self._head = store.newest(session)
        self._begin = self._head  # all later ones up to the head are in memory
        self._ids: list[int] = []
        self._events: list[wire.Event] = []
        self._listeners: list[Callable[[], None]] = []

    @property
    def head(self) -> int:
        """The id of the last event that is known here."""
        return self._head

    def read(self) -> bool:
        """Look for new transitions and wake the listeners; tell whether there were any.

        Raises
        ------
        StoreError
            When the database does not answer.
        """
        found = False
        with self._reading:
            while True:
                with self._db.read() as session:
                    rows = store.between(session, self._head, None, _PAGE)
                if not rows:
                    break
                found = True
                self._add([event_of(row) for row in rows])
        if found:
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                with suppress(RuntimeError):  # its event loop has ended
                    listener()
        return found

    def _add(self, events: list[wire.Event]) -> None:
        with self._lock:
            self._events += events
            self._ids += [int(event.id) for event in events]
            self._head = self._ids[-1]
            if len(self._ids) > _KEPT:
                cut = len(self._ids) - _KEPT // 2
                self._begin = self._ids[cut - 1]
                del self._ids[:cut], self._events[:cut]

    def at_hand(self, wanted: Wanted, cursor: int) -> Page | None:
        """Return what is later than `cursor`, out of memory; None where that must be read from the database."""
        with self._lock:
            if cursor < self._begin:
                return None
            start = bisect_right(self._ids, cursor)
            some = self._events[start : start + _PAGE]
            head = self._head
        if not some:
            return Page([], max(cursor, head), False)
        last = int(some[-1].id)
        return Page([event for event in some if wanted.takes(event)], last, last < head)

    def page(self, wanted: Wanted, cursor: int) -> Page:
        """Return what is later than `cursor`: a page of it, from wherever it is.

        Raises
        ------
        StoreError
            When the database does not answer.
        """
        page = self.at_hand(wanted, cursor)
        if page is not None:
            return page
        head = self._head
        # Those of named jobs are found by an index, however far they lie apart.
        upto = head if wanted.jobs is not None else min(head, cursor + _WINDOW)
        with self._db.read() as session:
            rows = store.between(
                session,
                cursor,
                upto,
                _PAGE,
                user=wanted.user,
                jobs=wanted.jobs,
                phases=wanted.phases,
                containers=wanted.containers,
            )
        last = rows[-1].id if len(rows) == _PAGE else upto
        return Page([event_of(row) for row in rows], last, last < head)

    def resent(self, after: int) -> list[tuple[int, wire.Event]]:
        """Return what admins have sent once more, later than row `after`, each with the number of its row."""
        with self._db.read() as session:
            return [(number, event_of(row)) for number, row in store.resent(session, after, _PAGE)]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called, in the thread of whoever reads, when there is something new; returns what ends that."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return end


def event_of(row: store.Happened) -> wire.Event:
    """One transition as it is told."""
    return wire.Event(
        id=str(row.id),
        job_id=str(row.job_id),
        container=row.container,
        user=row.user,
        name=row.name,
        cluster=row.site,
        state=Phase.of(row.phase).wire,
        phase=row.phase,
        time=row.time,
        detail=row.detail,
    )
