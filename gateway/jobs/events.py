"""Who may be told of which events, and from where on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller
from gateway.jobs.feed import Feed, Page, Wanted
from gateway.jobs.states import phases_named

MOST_JOBS = 250  # named at once


class Events:
    """The feed as callers have it.

    `see(caller, job)` raises NO_SUCH_JOB for a job that the caller may not see.
    """

    def __init__(self, feed: Feed, see: Callable[[Caller, int], object]) -> None:
        self._feed = feed
        self._see = see

    def wanted(
        self,
        caller: Caller,
        *,
        jobs: Sequence[int],
        states: Sequence[str],
        everyone: bool,
        containers: bool,
    ) -> Wanted:
        """Say what a caller is told of: the own jobs, those that are named, or for admins everyone's.

        Raises
        ------
        GatewayError
            UNAUTHORIZED, NO_SUCH_JOB, ILLEGAL_PARAMETER.
        """
        if everyone and not caller.admin:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"{caller.user} is no admin of this gateway, and the events of others are for admins.",
            )
        if len(jobs) > MOST_JOBS:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"job: {len(jobs)} jobs are named, and {MOST_JOBS} may be; name fewer, or none for all of yours.",
            )
        for job_id in jobs:
            self._see(caller, job_id)
        phases = [phase for word in states for phase in phases_named(word)]
        return Wanted(
            user=None if everyone or jobs else caller.user,
            jobs=frozenset(jobs) or None,
            phases=frozenset(phases) or None,
            containers=containers,
        )

    def begin(self, last: int | None) -> int:
        """Return the event after which to begin: the newest one, or the last that a caller had.

        Raises
        ------
        GatewayError
            ILLEGAL_PARAMETER for an event that is still to come.
        """
        self._feed.read()
        head = self._feed.head
        if last is not None and last > head:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"Last-Event-ID: there is no event {last} yet, the newest is {head}; leave it out to begin with the next.",
            )
        return head if last is None else last

    def at_hand(self, wanted: Wanted, cursor: int) -> Page | None:
        """See `Feed.at_hand`."""
        return self._feed.at_hand(wanted, cursor)

    def page(self, wanted: Wanted, cursor: int) -> Page:
        """See `Feed.page`."""
        return self._feed.page(wanted, cursor)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See `Feed.listen`."""
        return self._feed.listen(listener)
