"""Which refusals are written down: each at first, then one in a while, and never very many in all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

_PAUSE = timedelta(minutes=10)
_HOUR = timedelta(hours=1)
_MOST_AN_HOUR = 600
_PLACES = 10_000  # kept in memory


class Refusals:
    """Counts refusals by where they came from, and says which of them get a row."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, str], tuple[datetime, int]] = OrderedDict()
        self._hour: tuple[datetime, int] = (clock(), 0)

    def admit(self, where: str, action: str) -> int | None:
        """Return how many of the same were left out since the last row; None where this one is left out, too."""
        time, place = self._clock(), (where, action)
        with self._lock:
            last, left_out = self._places.pop(place, (None, 0))
            begun, rows = self._hour if time - self._hour[0] < _HOUR else (time, 0)
            self._hour = (begun, rows)
            if (last is not None and time - last < _PAUSE) or rows >= _MOST_AN_HOUR:
                self._keep(place, last or time - _PAUSE, left_out + 1)
                return None
            self._hour = (begun, rows + 1)
            self._keep(place, time, 0)
            return left_out

    def _keep(self, place: tuple[str, str], time: datetime, left_out: int) -> None:
        self._places[place] = (time, left_out)
        if len(self._places) > _PLACES:
            self._places.popitem(last=False)
