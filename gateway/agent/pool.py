"""Threads for transfers: tasks are counted, the first failure comes out in the thread that waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Deque, Optional

Work = Callable[[], None]
_TICK = 0.1


class Pool:
    """At most `threads` daemon threads, started as there is work; none is ever waited for to end.

    `check` is called several times a second while somebody waits, and raises what shall end that
    (signal handlers run in the waiting main thread).
    """

    def __init__(self, threads: int, check: Callable[[], None]) -> None:
        self._most = threads
        self._check = check
        self._wake = threading.Condition()
        self._tasks: Deque[Work] = deque()
        self._threads = 0
        self._idle = 0
        self._open = 0
        self._below = -1
        self._closed = False
        self._failure: Optional[BaseException] = None

    def submit(self, work: Work) -> None:
        """Have `work` done, after what was submitted before."""
        with self._wake:
            self._tasks.append(work)
            self._open += 1
            if self._idle < len(self._tasks) and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._loop, daemon=True).start()
            elif self._idle:
                self._wake.notify_all() if self._below >= 0 else self._wake.notify()

    def settle(self, most: int) -> None:
        """Wait until at most `most` tasks are open; raises what the first failed task raised."""
        with self._wake:
            self._below = most
            try:
                while self._open > most and self._failure is None:
                    self._wake.wait(_TICK)
                    self._check()
            finally:
                self._below = -1
            if self._failure is not None:
                raise self._failure
        self._check()

    def close(self) -> None:
        """Let the threads end; tasks that have not begun are dropped."""
        with self._wake:
            self._closed = True
            self._tasks.clear()
            self._wake.notify_all()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._tasks:
                    if self._closed:
                        return
                    self._idle += 1
                    self._wake.wait()
                    self._idle -= 1
                work = self._tasks.popleft()
            failure: Optional[BaseException] = None
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - raised again by whoever waits
                failure = exc
            with self._wake:
                self._open -= 1
                self._failure = self._failure or failure
                if failure is not None or self._open == self._below:
                    self._wake.notify_all()
