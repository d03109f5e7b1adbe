"""The hands of a site that is reached by SSH: one connection, and on it one program that does what they do.

The program is the project's own (`far.py`, `serve.py`, `hands.py`), sent as text and run by the site's Python. So all rules of
`LocalHands` hold there, which SFTP cannot keep: no link is followed and no pipe waited for, for SFTP has no way to open a file
so; and the work directory's lock is held by an sbatch itself, however the connection ends. A hundred files are one message, and
so is a look into the mailbox.

What the remote shell reads is one constant line. Everything else, the work directory's name included, is data on the
program's standard input.

A connection that breaks in the middle of a submission is no news. The sbatch goes on, and keeps the lock; new hands cannot be
had before it has ended; then the submission is looked up by its comment, as after any other lost answer.
"""

from __future__ import annotations

import errno
import importlib
import io
import random
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import paramiko

from gateway.config import SshSection
from gateway.errors import SiteError
from gateway.slurm.child import Child, Program
from gateway.slurm.helper import SpokenHands
from gateway.slurm.ssh_link import Link

# In the order in which they need each other; packages come without their text.
_SENT = ("gateway", "gateway.errors", "gateway.slurm", "gateway.slurm.trees", "gateway.slurm.hands",
         "gateway.slurm.serve", "gateway.slurm.far")  # fmt: skip
_PACKAGES = ("gateway", "gateway.slurm")
_BEGIN = "import sys; exec(sys.stdin.readline())"
_LOADER = """\
import sys, types
for name, text in {modules}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
raise SystemExit(sys.modules["gateway.slurm.far"].main({work_dir}, {exclusive}, {silence}))
"""
_NEAR, _FAR = 3, 4  # so many signs of life may be missing until this end, and the other, gives up
_SHORTEST, _LONGEST = 0.5, 60.0
_CALM = 300.0  # seconds after which a connection that broke counts as a good one


def far_command(python: str) -> list[str]:
    """Return the command that begins the program; it then reads `far_program` as its first line."""
    return [python, "-I", "-c", _BEGIN]


def far_program(work_dir: str, *, exclusive: bool, silence: float) -> bytes:
    """Return the program as a line of Python."""
    modules = []
    for name in _SENT:
        path = importlib.import_module(name).__file__
        text = "" if name in _PACKAGES or path is None else Path(path).read_text(encoding="utf-8")
        modules.append((name, text))
    program = _LOADER.format(
        modules=modules, work_dir=repr(work_dir), exclusive=exclusive, silence=float(silence)
    )
    return f"exec({program!a})\n".encode("ascii")


class SshHands(SpokenHands):
    """`Hands` at a site that is reached by SSH, as the user who logs in there: the user of the jobs.

    Parameters
    ----------
    section
        Where to, and how.
    python
        The Python there, 3.9 or newer.
    work_dir
        The work directory there.
    exclusive
        Whether its lock is taken; see `LocalHands`.
    answer_seconds
        How long it may take to answer what is about files.
    clock, jitter
        Seconds that only grow; a factor about 1 for the time between attempts to connect.
    """

    def __init__(
        self,
        section: SshSection,
        python: str,
        work_dir: str,
        *,
        exclusive: bool = True,
        answer_seconds: float = 120,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311
    ) -> None:
        super().__init__(answer_seconds)
        self._section = section
        self._python = python
        self._program = far_program(
            work_dir, exclusive=exclusive, silence=_FAR * section.alive_seconds
        )
        self._clock = clock
        self._jitter = jitter
        self._link: Link | None = None
        self._failures = 0
        self._last = self._next = clock()
        self._trouble = ""

    def close(self) -> None:
        """End the program there, which first ends what it is doing, and the connection."""
        child, link = self._child, self._link
        if link is not None and (child is None or not child.alive):
            link.close()  # an attempt that may take its time
        super().close()

    def _begin(self) -> Child:
        now = self._clock()
        if self._child is not None:
            self._trouble = self._child.gone or self._trouble
        if now < self._next:
            wait = self._next - now
            raise SiteError(f"{self._trouble}; the next attempt is in {max(1, round(wait))} s")
        if now - self._last > _CALM:
            self._failures = 0
        self._failures += 1
        self._last = now
        wait = min(_LONGEST, _SHORTEST * 2 ** min(self._failures, 16))
        self._next = now + wait * self._jitter()
        try:
            return Child(
                self._start,
                self._section.connect_seconds,
                who=f"the gateway's program at {self._section.host}",
                sign_seconds=self._section.alive_seconds,
                noise=True,
            )
        except SiteError as exc:
            self._trouble = str(exc)
            self._child = None
            raise

    def _start(self) -> Program:
        self._link = link = Link(self._section)
        channel = link.run(f"exec {shlex.join(far_command(self._python))}")
        silence = _NEAR * self._section.alive_seconds
        channel.settimeout(max(silence, self._section.connect_seconds))
        with suppress(OSError, EOFError, paramiko.SSHException):  # its words tell why it has ended
            channel.sendall(self._program)
        return _program(channel, link, silence)


def _program(channel: paramiko.Channel, link: Link, silence: float) -> Program:
    def wait(seconds: float | None) -> None:
        if seconds is not None and not channel.status_event.wait(seconds):
            raise TimeoutError
        link.close()

    return Program(
        _Input(channel),
        _Output(channel, channel.recv, silence),
        _Output(channel, partial(_errors, channel), silence),
        lambda: link.alive and not channel.closed,
        link.close,
        wait,
    )


def _errors(channel: paramiko.Channel, size: int) -> bytes:
    """Read its standard error, which may be silent for as long as it likes."""
    while True:
        with suppress(TimeoutError):
            return channel.recv_stderr(size)


class _Output(io.RawIOBase):
    """One of the outputs of a channel, as a raw file."""

    def __init__(
        self, channel: paramiko.Channel, receive: Callable[[int], bytes], silence: float
    ) -> None:
        self._channel = channel
        self._receive = receive
        self._silence = silence

    def readable(self) -> bool:
        """See `io.IOBase.readable`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        try:
            data = self._receive(len(buffer))
        except TimeoutError as exc:
            raise OSError(errno.ETIMEDOUT, f"no sign of life for {self._silence:g} s") from exc
        except (EOFError, paramiko.SSHException) as exc:
            raise OSError(errno.ECONNRESET, "the connection was lost") from exc
        if not data and not self._channel.eof_received:
            raise OSError(errno.ECONNRESET, "the connection was lost")
        self._channel.settimeout(self._silence)  # until the first word it may take longer
        buffer[: len(data)] = data
        return len(data)


class _Input(io.RawIOBase):
    """The input of a channel, as a raw file."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        """See `io.IOBase.writable`."""
        return True

    def write(self, data: Any) -> int:
        """See `io.RawIOBase.write`."""
        try:
            sent = self._channel.send(bytes(data))
        except (EOFError, paramiko.SSHException) as exc:
            raise BrokenPipeError(errno.EPIPE, "the connection was lost") from exc
        if sent == 0 and len(data):
            raise BrokenPipeError(errno.EPIPE, "the channel is closed")
        return sent

    def close(self) -> None:
        """End the program's input."""
        if not self.closed:
            with suppress(OSError, EOFError, paramiko.SSHException):
                self._channel.shutdown_write()
        super().close()
