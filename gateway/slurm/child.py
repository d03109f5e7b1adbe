"""One helper process and the talk with it: one JSON line a request and an answer, many under way at once.

Nothing that the process does, or leaves undone, makes a caller wait beyond its time: reading and writing are done by threads
of their own, and a process that is silent, talks nonsense or is gone is given up with the reason.
"""

from __future__ import annotations

import io
import json
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

from gateway.errors import SiteError
from gateway.slurm.hands import clean_environment

READY = "ready"
MOST_LINE = 256 << 20  # bytes of one answer


class Child:
    """A helper process, from its start to its end.

    Parameters
    ----------
    command
        What starts it.
    start_seconds
        How long it may take until it says that it is ready.

    Raises
    ------
    SiteError
        When it cannot be started.
    """

    def __init__(self, command: Sequence[str], start_seconds: float) -> None:
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=clean_environment(),
                cwd="/",
                start_new_session=True,  # a terminal's Ctrl-C is for the daemon, which ends its helper itself
            )
        except OSError as exc:
            raise SiteError(f"cannot start the site's helper {command[0]}: {exc.strerror}") from exc
        self._ready = threading.Event()
        self._start_seconds = start_seconds
        self._ready_by = time.monotonic() + start_seconds
        self._lock = threading.Lock()
        self._gone: str | None = None
        self._number = 0
        self._waiting: dict[int, Future[Any]] = {}
        self._last_sign = 0.0
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=5)
        self._drain = self._thread(self._read_errors)
        self._thread(self._read)
        self._thread(self._write)

    @staticmethod
    def _thread(target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name="site-helper", daemon=True)
        thread.start()
        return thread

    @property
    def alive(self) -> bool:
        """Whether requests can still be answered."""
        return self._gone is None and self._process.poll() is None

    def call(self, operation: str, arguments: list[Any], timeout: float) -> Any:
        """Ask for an operation and wait at most `timeout` seconds (and for its start) for the answer.

        Raises
        ------
        SiteError
            What the helper says went wrong, or that it is gone, or gave no answer in time.
        """
        if not self._ready.wait(max(0.0, self._ready_by - time.monotonic())):
            self._give_up(f"did not start: it said nothing in {self._start_seconds:g} s")
        future: Future[Any] = Future()
        with self._lock:
            if self._gone is not None:
                raise SiteError(f"the site's helper {self._gone}")
            self._number += 1
            number = self._number
            self._waiting[number] = future
        asked = time.monotonic()
        self._outbox.put(json.dumps([number, operation, arguments]).encode() + b"\n")
        try:
            return future.result(timeout)
        except FutureTimeout as exc:
            if self._last_sign < asked:
                self._give_up(f"gave no sign of life for {timeout:g} s")
            raise SiteError(
                f"the site's helper gave no answer to {operation} in {timeout:g} s"
            ) from exc
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def end(self, seconds: float = 10) -> None:
        """End it by closing its input; what it is doing it ends first, for at most that long."""
        self._outbox.put(None)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._give_up("was ended")

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if self._gone is not None:
                return
            self._gone = reason
            lost = list(self._waiting.values())
            self._waiting.clear()
        for future in lost:
            future.set_exception(SiteError(f"the site's helper {reason}"))
        self._ready.set()
        self._outbox.put(None)
        self._kill()

    def _kill(self) -> None:
        with suppress(
            OSError
        ):  # one of another user cannot be killed; the end of its input ends it
            self._process.kill()

    def _write(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError), pipe:  # that it is gone is seen by the reader
            while (line := self._outbox.get()) is not None:
                left = memoryview(line)
                while left:
                    left = left[pipe.write(left) :]

    def _read(self) -> None:
        reason, line = "died", b""
        assert isinstance(self._process.stdout, io.RawIOBase)
        try:
            with io.BufferedReader(self._process.stdout) as lines:
                first = lines.readline(200)
                if first != f"{READY}\n".encode():
                    reason = f"did not start: {_shown(first)}".removesuffix(": ")
                    return
                self._ready.set()
                while line := lines.readline(MOST_LINE):
                    if not line.endswith(b"\n"):
                        reason = "died in the middle of an answer, or gave one too long"
                        return
                    self._last_sign = time.monotonic()
                    self._answer(line)
        except (ValueError, TypeError, RecursionError):
            reason = f"said what is no answer: {_shown(line)}"
        except OSError as exc:
            reason = f"cannot be heard: {exc.strerror}"
        finally:
            self._kill()
            self._drain.join(0.5)
            errors = "; ".join(self._errors)
            self._give_up(f"{reason}: {errors}" if errors else reason)
            self._process.wait()

    def _answer(self, line: bytes) -> None:
        number, good, answer = json.loads(line)
        if not isinstance(number, int):
            raise TypeError(number)
        with self._lock:
            future = self._waiting.pop(number, None)
        if future is not None and good is True:
            future.set_result(answer)
        elif future is not None:
            future.set_exception(SiteError(str(answer)[:2000]))

    def _read_errors(self) -> None:
        assert isinstance(self._process.stderr, io.RawIOBase)
        with suppress(OSError), io.BufferedReader(self._process.stderr) as lines:
            while line := lines.readline(1000):
                if shown := _shown(line):
                    self._errors.append(shown)


def _shown(data: bytes) -> str:
    return data[:200].decode(errors="replace").strip()
