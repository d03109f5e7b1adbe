"""Running one container: its output into files as it grows, its time kept, its end told exactly."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, List, NamedTuple, Optional, cast

from .container import Command
from .files import Clock
from .mailbox import Stop
from .place import FULL
from .processes import kill_container, kill_session, prefer_in_oom

_TAIL = 2048


class Limits(NamedTuple):
    """Seconds to run, seconds between SIGTERM and SIGKILL, bytes of each log.

    `cancel_grace` is the most grace that a canceled one gets; `drain`, the seconds that what is
    left of an ended one may still write.
    """

    runtime: float
    grace: float
    log_size: int
    cancel_grace: float = 2.0
    drain: float = 2.0


class Ended(NamedTuple):
    """How a container ended.

    `status` is what a shell would show; `stopped` says who stopped it: None, `runtime`, `timeout`
    or `canceled`; `tail` is the end of its stderr.
    """

    status: int
    stopped: Optional[str]
    truncated: bool
    log_error: Optional[str]
    tail: str


class Log:
    """A stream of the container on its way to a file, up to a size; the rest is read and dropped."""

    def __init__(self, source: int, path: Path, size: int) -> None:
        self.source = source
        self.truncated = False
        self.error: Optional[str] = None
        self.tail = b""
        self._path = path
        self._left = size
        self._size = size
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def move(self) -> bool:
        """Take what is there; False at the end of the stream."""
        data = os.read(self.source, 65536)
        if not data:
            return False
        self.tail = (self.tail + data)[-_TAIL:]
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        if self.truncated or self.error is not None:
            return
        kept = data[: self._left]
        self._left -= len(kept)
        if len(kept) < len(data):
            self.truncated = True
            kept += f"\n[cts: over {self._size} bytes; the rest was not kept]\n".encode()
        try:
            view = memoryview(kept)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as exc:
            full = exc.errno in FULL
            self.error = f"{self._path.name}: {'the disk is full' if full else exc.strerror}"
            self.truncated = True

    def close(self) -> None:
        """Close the file; a network file system may tell only now that it is full."""
        try:
            os.close(self._file)
        except OSError as exc:
            self.error = self.error or f"{self._path.name}: {exc.strerror}"
            self.truncated = True


class Runner:
    """Starts a container and sees it through. For the main thread, which gets the signals.

    Parameters
    ----------
    command
        What to execute.
    limits
        Of time and log size.
    stop
        Set by signal handlers when the container shall end.
    """

    def __init__(self, command: Command, limits: Limits, stop: Stop, clock: Clock = time.monotonic):
        self._command = command
        self._limits = limits
        self._stop = stop
        self._clock = clock
        self._stopped: Optional[str] = None
        self._kill_at: Optional[float] = None
        self._hurried = False

    def run(self, stdout: Path, stderr: Path) -> Ended:
        """Run to the end.

        Raises
        ------
        OSError
            When apptainer cannot be started (E2BIG: arguments or environment too long) or a log
            cannot be made.
        """
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            return self._run(reader, stdout, stderr)
        finally:
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGCHLD, handler)
            os.close(reader)
            os.close(writer)

    def _run(self, wakeup: int, stdout: Path, stderr: Path) -> Ended:
        child = subprocess.Popen(
            list(self._command.argv),
            env=dict(self._command.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )
        begin = self._clock()
        prefer_in_oom(child.pid)
        logs: List[Log] = []
        try:
            for pipe, path in ((child.stdout, stdout), (child.stderr, stderr)):
                logs.append(Log(cast(IO[bytes], pipe).fileno(), path, self._limits.log_size))
            if not self._watch(child, wakeup, logs, begin + self._limits.runtime):
                kill_session(child.pid)
        except BaseException:
            kill_container(child)
            raise
        finally:
            for log in logs:
                log.close()
        code = child.wait()
        errors = [log.error for log in logs if log.error is not None]
        return Ended(
            status=128 - code if code < 0 else code,
            stopped=self._stopped,
            truncated=any(log.truncated for log in logs),
            log_error="; ".join(errors) or None,
            tail=logs[1].tail.decode("utf-8", "replace"),
        )

    def _watch(
        self, child: subprocess.Popen[bytes], wakeup: int, logs: List[Log], deadline: float
    ) -> bool:
        """See the container through; False when something of it still holds its logs open."""
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            for log in logs:
                selector.register(log.source, selectors.EVENT_READ, log)
            open_logs, drain_until = len(logs), None
            while True:
                now = self._clock()
                if child.poll() is None:
                    self._keep_time(child, now, deadline)
                elif not open_logs:
                    return True
                elif drain_until is not None and now >= drain_until:
                    return False
                elif drain_until is None:
                    drain_until = now + self._limits.drain
                times = [drain_until] if drain_until else [self._kill_at or deadline]
                for key, _ in selector.select(max(0.0, min(times) - now)):
                    if key.data is None:
                        with contextlib.suppress(BlockingIOError):
                            os.read(wakeup, 4096)
                    elif not key.data.move():
                        selector.unregister(key.fd)
                        open_logs -= 1

    def _keep_time(self, child: subprocess.Popen[bytes], now: float, deadline: float) -> None:
        if self._kill_at is not None:
            if self._stop.canceled and not self._hurried:
                self._hurried = True
                self._kill_at = min(self._kill_at, now + self._limits.cancel_grace)
            if now >= self._kill_at:
                kill_container(child)
                self._kill_at = now + 5.0  # once more, should anything be left
            return
        reason = self._stop.reason or ("runtime" if now >= deadline else None)
        if reason is None:
            return
        self._stopped = reason
        grace = self._limits.grace
        if self._stop.canceled:
            self._hurried = True
            grace = min(grace, self._limits.cancel_grace)
        self._kill_at = now + grace
        child.send_signal(signal.SIGTERM)
