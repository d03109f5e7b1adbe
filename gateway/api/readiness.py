"""/ready is open to anybody and asks Slurm, S3 and the database: one check at a time, its answer kept for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread

from gateway.wire import Ready

_FRESH = 2.0  # seconds


class Readiness:
    """Runs a check for all who ask meanwhile; who waits for it holds no thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._thread: CapacityLimiter | None = None
        self._last: tuple[float, Ready] | None = None

    async def answer(self, check: Callable[[], Ready]) -> Ready:
        """Return what `check` says, or said less than two seconds ago."""
        async with self._lock:
            if self._last is not None and self._clock() - self._last[0] < _FRESH:
                return self._last[1]
            if self._thread is None:
                self._thread = CapacityLimiter(1)
            found = await to_thread.run_sync(check, limiter=self._thread)
            self._last = (self._clock(), found)
            return found
