"""What is shown on standard error while a job is waited for: a live line on a terminal, plain lines with -v, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import typer

from gateway.cli import states
from gateway.cli.text import clean, duration
from gateway.cli.waits import why
from gateway.client import Client, CtsError, GatewayUnreachableError
from gateway.wire import JobStatus


class Progress(Protocol):
    """Is told each answer of the gateway about a job."""

    def __enter__(self) -> Progress:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""

    def see(self, status: JobStatus) -> None:
        """Take an answer."""


class _Base:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def see(self, status: JobStatus) -> None:
        """Take an answer."""


class Silent(_Base):
    """Shows nothing."""


class Plain(_Base):
    """A line whenever a job's phase or reason changes."""

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        self._now = now
        self._last: tuple[str, str, str | None] | None = None

    def see(self, status: JobStatus) -> None:
        """Take an answer."""
        if (seen := (status.id, status.phase, status.reason)) != self._last:
            self._last = seen
            note = f": {clean(status.reason)}" if status.reason else ""
            typer.echo(
                f"{self._now():%H:%M:%S} {clean(status.id)} {clean(status.phase)}{note}", err=True
            )


class Counter:
    """How many containers of a job have ended: (ended, all). Asked for when it may have changed, not at every answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._job = ""
        self._left = 0
        self._last: tuple[int, int] | None = None

    def count(self, status: JobStatus) -> tuple[int, int] | None:
        """Return the numbers; None as long as they are not known."""
        if status.id != self._job:
            self._job, self._last, self._left = status.id, None, 0
        self._left -= 1
        if self._left <= 0 or status.phase in states.ENDED:
            self._left = 5
            try:
                codes = self._client.exit_codes(status.id)
            except (CtsError, GatewayUnreachableError):
                return self._last  # the next one may be answered
            self._last = (sum(code is not None for code in codes), len(codes))
        return self._last


def line(status: JobStatus, count: tuple[int, int] | None, now: datetime) -> str:
    """Write a job's state in one line: `1234 run  2/3 containers ended  00:01:12  reason`."""
    parts = [f"{clean(status.id)} {clean(status.phase)}"]
    if count is not None:
        parts.append(f"{count[0]}/{count[1]} containers ended")
    if status.transition_times:
        times = [step.time for step in status.transition_times]
        until = times[-1] if status.phase in states.ENDED else now
        parts.append(duration(max(0.0, (until - times[0]).total_seconds())))
    if note := why(status):
        parts.append(clean(note))
    return "  ".join(parts)


class Live(_Base):
    """One line that changes in place; the last one of each job stays."""

    def __init__(self, client: Client) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where there is a terminal: it is slow to import
        from rich.live import Live as RichLive  # noqa: PLC0415

        self._counter = Counter(client)
        self._status: JobStatus | None = None
        self._count: tuple[int, int] | None = None
        self._console = Console(stderr=True, highlight=False)
        self._live = RichLive(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def see(self, status: JobStatus) -> None:
        """Take an answer."""
        self._count = self._counter.count(status)
        self._status = status
        if status.phase in states.ENDED:
            last, self._status = self._render(), None
            self._console.print(last)

    def _render(self) -> Any:
        from rich.text import Text  # noqa: PLC0415

        shown = "" if self._status is None else line(self._status, self._count, datetime.now(UTC))
        return Text(shown, no_wrap=True, overflow="ellipsis")


def progress(client: Client, *, verbose: bool) -> Progress:
    """Choose: lines where they are asked for, the live line on a terminal, else nothing."""
    if verbose:
        return Plain()
    return Live(client) if sys.stderr.isatty() else Silent()
