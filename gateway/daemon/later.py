"""Putting off: what did not work is left alone for a while, and when nothing seems to work, so is all the rest.

A store or a Slurm that is away must not be asked for each of a thousand things in turn, with a time-out each; and one thing
that never works must not keep the others from being tried.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Later:
    """Says what may be tried in a round.

    Parameters
    ----------
    seconds
        How long what failed is left alone.
    most
        After so many failures a round is over.
    clock
        Tells the time in seconds.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._until: dict[Hashable, float] = {}
        self._failures = 0

    def new_round(self) -> None:
        """Begin a round: forget what has been left alone for long enough."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._failures = 0

    @property
    def over(self) -> bool:
        """Whether so much failed that the rest of this round would fail as well."""
        return self.left <= 0

    @property
    def left(self) -> int:
        """How many more failures this round bears."""
        return self._most - self._failures

    def may(self, key: Hashable) -> bool:
        """Whether this may be tried in this round."""
        return not self.over and key not in self._until

    def failed(self, key: Hashable) -> None:
        """Leave this alone."""
        self._until[key] = self._clock() + self._seconds
        self._failures += 1
