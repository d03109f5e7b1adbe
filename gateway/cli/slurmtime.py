"""Times as Slurm's commands take them: now-2days, midnight, today, 14:30, 2026-01-31T12:00."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SHIFT = re.compile(r"now(?:([+-])([0-9]+)(second|minute|hour|day|week)?s?)?", re.ASCII)
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%m/%d/%y", "%m/%d/%Y")
_DAYS = {"midnight": 0, "today": 0, "noon": 0, "tomorrow": 1, "yesterday": -1}


def parse_time(text: str, now: datetime) -> datetime:
    """Read a time of sacct(1)'s forms; `now` is aware and gives the zone.

    Raises
    ------
    ValueError
        Saying which forms there are.
    """
    word = text.strip()
    shift = _SHIFT.fullmatch(word)
    if shift is not None:
        seconds = int(shift[2] or 0) * _UNITS[shift[3] or "second"]
        return now + timedelta(seconds=-seconds if shift[1] == "-" else seconds)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word in _DAYS:
        return midnight + timedelta(days=_DAYS[word], hours=12 if word == "noon" else 0)
    for form in _FORMS:
        try:
            return datetime.strptime(word, form).replace(tzinfo=now.tzinfo)
        except ValueError:
            continue
    for form in ("%H:%M:%S", "%H:%M"):
        try:
            clock = datetime.strptime(word, form)
        except ValueError:
            continue
        return midnight + timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)
    raise ValueError(
        f"{text!r} is no time; write now-2days, midnight, 14:30, 2026-01-31 or 2026-01-31T12:00:00"
    )
