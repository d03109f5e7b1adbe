"""What the dispatcher asks of those who send: a protocol, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.wire import Event


@dataclass(frozen=True)
class Outcome:
    """How many events, from the first on, have arrived; what went wrong with the next; whether it never will go right."""

    done: int
    error: str | None = None
    gone: bool = False


class Sender(Protocol):
    """The road to one subscriber."""

    def send(self, events: Sequence[Event], go_on: Callable[[], bool]) -> Outcome:
        """Send events in order, as long as `go_on` says so; the first that fails ends it."""

    def close(self) -> None:
        """Give the connection back."""
