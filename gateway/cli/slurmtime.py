"""Times as Slurm's commands take them (sacct(1), "TIME FORMATS"): now-2days, midnight, 2:30PM, 2026-01-31T12:00."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SHIFT = re.compile(r"now(?:([+-])([0-9]{1,9})(second|minute|hour|day|week)?s?)?", re.ASCII)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))? ?(am|pm)?", re.ASCII)
_DATES = (
    (re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})", re.ASCII), "t"),
    (re.compile(r"(?P<m>[0-9]{2})(?P<d>[0-9]{2})(?P<y>[0-9]{2})?", re.ASCII), "-"),
    (re.compile(r"(?P<m>[0-9]{1,2})([/.])(?P<d>[0-9]{1,2})(?:\2(?P<y>[0-9]{4}|[0-9]{2}))?", re.ASCII), "-"),
)  # fmt: skip
_WORDS = {"today": 0, "midnight": 0, "noon": 12, "fika": 15, "teatime": 16}
_DAYS = {"tomorrow": 1, "yesterday": -1}


def parse_time(
    text: str, now: datetime, localize: Callable[[datetime], datetime] = datetime.astimezone
) -> datetime:
    """Read a time.

    Parameters
    ----------
    text
        What the user wrote. A clock alone is today's; a date alone is its midnight; without a year it is this year's.
    now
        The time now, aware, in the user's zone.
    localize
        Gives a naive time of the user's clock its zone, which depends on the season.

    Raises
    ------
    ValueError
        Saying which forms there are.
    """
    word = text.strip().lower()
    shift = _SHIFT.fullmatch(word)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    try:
        if shift is not None:
            seconds = int(shift[2] or 0) * _UNITS[shift[3] or "second"]
            return now + timedelta(seconds=-seconds if shift[1] == "-" else seconds)
        if word in _WORDS:
            return localize(midnight.replace(hour=_WORDS[word]))
        if word in _DAYS:
            return localize(midnight + timedelta(days=_DAYS[word]))
        found = _clock(midnight, word) or _dated(midnight, word)
        if found is not None:
            return localize(found)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{text[:100]!r} is no time that there is: {exc}") from exc
    raise ValueError(
        f"{text[:100]!r} is no time; write now-2days, midnight, 14:30, 01/31, 2026-01-31 or 2026-01-31T12:00:00"
    )


def _clock(day: datetime, word: str) -> datetime | None:
    match = _CLOCK.fullmatch(word)
    if match is None:
        return None
    hour = int(match[1])
    if match[4] is not None:
        if not 1 <= hour <= 12:
            raise ValueError("hours before AM and PM are 1 to 12")
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    return day.replace(hour=hour, minute=int(match[2]), second=int(match[3] or 0))


def _dated(today: datetime, word: str) -> datetime | None:
    for pattern, between in _DATES:
        match = pattern.match(word)
        if match is None:
            continue
        rest = word[match.end() :]
        year = int(match["y"] or today.year)
        day = today.replace(
            year=year + 2000 if year < 100 else year, month=int(match["m"]), day=int(match["d"])
        )
        if not rest:
            return day
        if rest.startswith(between):
            return _clock(day, rest[1:])
    return None
