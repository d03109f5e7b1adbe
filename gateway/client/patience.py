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
    """How long nobody has answered; `most` is in seconds, `SECONDS` where it is not given."""

    def __init__(self, most: float | None = None) -> None:
        self._most = SECONDS if most is None else most
        self._since: float | None = None

    def answered(self) -> None:
        """Note an answer."""
        self._since = None

    def bear(self, error: CtsError | GatewayUnreachableError) -> None:
        """Bear it, or raise the error when it has lasted too long or will not pass by itself."""
        if isinstance(error, CtsError) and error.status != 503:
            raise error
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > self._most:
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


def until_answered(call: Callable[[], _T], most: float) -> _T:
    """Make a call that may be made again, until it is answered: an answer may have been lost on its way.

    A first call that did not reach anybody is not made again: nobody is there. `most` is in seconds, `SECONDS` at most.

    Raises
    ------
    CtsError, GatewayUnreachableError
        A refusal, or the last trouble; `sent` says whether any of the calls may have reached the gateway.
    """
    patience, pause, sent = Patience(min(SECONDS, most)), 0.1, False
    while True:
        try:
            return call()
        except GatewayUnreachableError as exc:
            sent = sent or exc.sent
            if not sent:
                raise
            exc.sent = True
            patience.bear(exc)
        time.sleep(pause * jitter())
        pause = min(2.0, pause * 2)
