"""How long a gateway that does not answer is borne: a restart of the daemon passes, and so does a lost connection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from gateway.connection import CtsError, GatewayUnreachableError

SECONDS = 60  # without an answer
_T = TypeVar("_T")


def jitter() -> float:
    """Keep many who wait from asking at one moment."""
    return random.uniform(0.8, 1.2)  # noqa: S311 - nothing secret


class Patience:
    """How long nobody has answered."""

    def __init__(self) -> None:
        self._since: float | None = None

    def answered(self) -> None:
        """Note an answer."""
        self._since = None

    def bear(self, error: CtsError | GatewayUnreachableError) -> None:
        """Bear it, or raise the error when it has lasted too long or will not pass by itself."""
        if isinstance(error, CtsError) and error.status != 503:
            raise error
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > SECONDS:
            raise error


def persist(ask: Callable[[], _T]) -> _T:
    """Ask for what may be asked for again, until there is an answer.

    Raises
    ------
    CtsError, GatewayUnreachableError
        A refusal, or when there was no answer for `SECONDS`.
    """
    pause, patience = 0.2, Patience()
    while True:
        try:
            return ask()
        except (CtsError, GatewayUnreachableError) as exc:
            patience.bear(exc)
        time.sleep(pause * jitter())
        pause = min(2.0, pause * 1.5)
