"""One helper and the talk with it: one JSON line a request and an answer, many under way at once.

The helper is a process here (`start_process`), or one at the far end of an SSH connection (`ssh.py`). Nothing that it does,
or leaves undone, makes a caller wait beyond its time: reading and writing are done by threads of their own, and a helper that
is silent, talks nonsense or is gone is given up with the reason.
"""

from __future__ import annotations

import io
import json
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, cast

from gateway.errors import SiteError
from gateway.slurm.hands import clean_environment
from gateway.slurm.serve import MOST_LINE, READY

_NOISE = 100  # lines that a login may print before the helper does


@dataclass(frozen=True)
class Program:
    """A helper that runs, here or elsewhere: its three pipes, whether it is `alive`, and how to end it.

    `kill` ends it at once, or lets go of it; `wait` waits for its end, for some seconds at most, and raises TimeoutError.
    """

    stdin: io.RawIOBase
    stdout: io.RawIOBase
    stderr: io.RawIOBase
    alive: Callable[[], bool]
    kill: Callable[[], None]
    wait: Callable[[float | None], None]


def start_process(command: Sequence[str]) -> Program:
    """Start a helper as a process here.

    Raises
    ------
    SiteError
        When it cannot be started.
    """
    try:
        process = subprocess.Popen(
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
    pipes = (process.stdin, process.stdout, process.stderr)
    stdin, stdout, stderr = (cast(io.RawIOBase, pipe) for pipe in pipes)  # for there is no buffer

    def wait(seconds: float | None) -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError from exc

    def kill() -> None:
        with suppress(OSError):  # one of another user is ended by the end of its input
            process.kill()

    return Program(stdin, stdout, stderr, lambda: process.poll() is None, kill, wait)


class Child:
    """A helper, from its start to its end.

    Parameters
    ----------
    start
        Starts its program.
    start_seconds
        How long it may take until it says that it is ready.
    who
        What it is called in errors.
    sign_seconds
        How often it is asked for a sign of life; None: never.
    noise
        Whether lines of others may come before its first: a login's greeting.

    Raises
    ------
    SiteError
        When it cannot be started.
    """

    def __init__(
        self,
        start: Callable[[], Program],
        start_seconds: float,
        *,
        who: str = "the site's helper",
        sign_seconds: float | None = None,
        noise: bool = False,
    ) -> None:
        self._program = start()
        self._who = who
        self._sign_seconds = sign_seconds
        self._noise = _NOISE if noise else 0
        self._ready = threading.Event()
        self._start_seconds = start_seconds
        self._ready_by = time.monotonic() + start_seconds
        self._lock = threading.Lock()
        self._gone: str | None = None
        self._number = 0
        self._waiting: dict[int, Future[Any]] = {}
        self._last_sign = 0.0
        self._sign_at = time.monotonic() + (sign_seconds or 0)
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
        return self._gone is None and self._program.alive()

    @property
    def gone(self) -> str | None:
        """Why there is no answer any more; None while there may be."""
        return None if self._gone is None else f"{self._who} {self._gone}"

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
                raise SiteError(f"{self._who} {self._gone}")
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
            raise SiteError(f"{self._who} gave no answer to {operation} in {timeout:g} s") from exc
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def end(self, seconds: float = 10) -> None:
        """End it by closing its input; what it is doing it ends first, for at most that long."""
        self._outbox.put(None)
        try:
            self._program.wait(seconds)
        except TimeoutError:
            self._give_up("was ended")

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if self._gone is not None:
                return
            self._gone = reason
            lost = list(self._waiting.values())
            self._waiting.clear()
        for future in lost:
            future.set_exception(SiteError(f"{self._who} {reason}"))
        self._ready.set()
        self._outbox.put(None)
        self._program.kill()

    def _write(self) -> None:
        pipe = self._program.stdin
        with suppress(OSError), pipe:  # that it is gone is seen by the reader
            while (line := self._next()) is not None:
                left = memoryview(line)
                while left:
                    left = left[pipe.write(left) or 0 :]

    def _next(self) -> bytes | None:
        """Return what is to be said next; an empty line when it is time to ask for a sign of life."""
        if self._sign_seconds is None:
            return self._outbox.get()
        while True:
            left = self._sign_at - time.monotonic()
            with suppress(queue.Empty):
                if left > 0:
                    return self._outbox.get(timeout=left)
            self._sign_at = time.monotonic() + self._sign_seconds
            if self._ready.is_set():
                return b"\n"

    def _read(self) -> None:
        reason, line = "died", b""
        try:
            with io.BufferedReader(self._program.stdout) as lines:
                first = self._first(lines)
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
            self._program.kill()
            self._drain.join(0.5)
            errors = "; ".join(self._errors)
            self._give_up(f"{reason}: {errors}" if errors else reason)
            self._program.wait(None)

    def _first(self, lines: IO[bytes]) -> bytes:
        """Return the line by which it says that it is ready, or what came in its place."""
        first = lines.readline(200)
        for _ in range(self._noise):
            if first == f"{READY}\n".encode():
                break
            first = lines.readline(200) or first
        return first

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
        with suppress(OSError), io.BufferedReader(self._program.stderr) as lines:
            while line := lines.readline(1000):
                if shown := _shown(line):
                    self._errors.append(shown)


def _shown(data: bytes) -> str:
    return data[:200].decode(errors="replace").strip()
