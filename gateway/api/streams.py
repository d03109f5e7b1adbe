"""Streams of server-sent events: how many a user may have, their ends, and how they are written.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import to_thread

from gateway import wire
from gateway.errors import AppCode, GatewayError
from gateway.jobs.feed import Page, Wanted
from gateway.jobs.services import EventService

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_USER = 32
_HEARTBEAT = 15.0  # seconds
_RETRY = 2000  # milliseconds that a browser waits before it asks again


class Streams:
    """The streams of one server. For the event loop's own thread."""

    def __init__(self, heartbeat: float = _HEARTBEAT) -> None:
        self.heartbeat = heartbeat
        self._open: Counter[str] = Counter()
        self._wakers: set[asyncio.Event] = set()
        self.closing = False

    def check(self, user: str) -> None:
        """See that a user may have one more.

        Raises
        ------
        GatewayError
            RESOURCE_UNAVAILABLE.
        """
        if self._open[user] >= _PER_USER:
            raise GatewayError(
                AppCode.RESOURCE_UNAVAILABLE,
                f"{user} has {_PER_USER} streams of events open already; end some of them.",
            )

    @contextmanager
    def one(self, user: str) -> Iterator[asyncio.Event]:
        """Count a stream as long as it is open; what it waits for is set when the server ends."""
        waker = asyncio.Event()
        self._open[user] += 1
        self._wakers.add(waker)
        try:
            yield waker
        finally:
            self._wakers.discard(waker)
            self._open[user] -= 1
            if self._open[user] <= 0:
                del self._open[user]

    def close(self) -> None:
        """Let all streams end: clients come back with the id that they had."""
        self.closing = True
        for waker in self._wakers:
            waker.set()


async def stream(
    streams: Streams,
    events: EventService,
    user: str,
    wanted: Wanted,
    cursor: int,
    *,
    follow: bool,
    still: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """Yield events later than `cursor`, and from time to time a sign of life with the id to go on from.

    A slow reader holds this up and nothing else: what it has not read yet stays in the database. `still` says, from time
    to time, whether the caller may go on.
    """
    loop = asyncio.get_running_loop()
    with streams.one(user) as waker:

        def wake() -> None:
            loop.call_soon_threadsafe(waker.set)

        end = events.listen(wake)
        try:
            yield f"retry: {_RETRY}\nid: {cursor}\n\n".encode()
            checked = loop.time()
            while not streams.closing:
                waker.clear()
                page = await _page(events, wanted, cursor)
                cursor = page.cursor
                if page.events:
                    yield b"".join(written(event) for event in page.events)
                if page.more:
                    continue
                if not follow:
                    return
                try:
                    async with asyncio.timeout(streams.heartbeat):
                        await waker.wait()
                except TimeoutError:
                    yield f"id: {cursor}\n: nothing new\n\n".encode()
                if loop.time() - checked >= streams.heartbeat:
                    checked = loop.time()
                    if not await still():
                        return
        finally:
            end()


async def _page(events: EventService, wanted: Wanted, cursor: int) -> Page:
    page = events.at_hand(wanted, cursor)
    if page is None:
        page = await to_thread.run_sync(events.page, wanted, cursor)
    return page


def written(event: wire.Event) -> bytes:
    """Write one event: JSON has no line ends of its own."""
    kind = "container" if event.container is not None else "job"
    return f"id: {event.id}\nevent: {kind}\ndata: {event.model_dump_json()}\n\n".encode()
