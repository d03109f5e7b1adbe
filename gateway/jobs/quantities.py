"""Memory and run time as users write them, and as Slurm wants them.

Errors are `ValueError` with a whole sentence; the caller says in which field it was.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, Decimal

MIN_MEMORY = 10**6
MAX_MEMORY = 10**18
DEFAULT_MEMORY = 10 * 10**6
DEFAULT_RUNTIME = 60
MAX_RUNTIME = 366 * 86400

_MAX_TEXT = 100  # nobody needs more, and no pattern then meets a long text

_MEMORY = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?([A-Za-z]*)", re.ASCII)
_DECIMAL = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_UNITS: dict[str, int] = (
    {"": 1, "b": 1}
    | {f"{unit}{b}": 1000**n for unit, n in _DECIMAL.items() if unit for b in ("", "b")}
    | {f"{unit}ib": 1024**n for unit, n in _DECIMAL.items() if unit}
)
_ISO = re.compile(
    r"P(?=[0-9T])(?:(?P<Y>[0-9.,]+)Y)?(?:(?P<Mo>[0-9.,]+)M)?(?:(?P<W>[0-9.,]+)W)?"
    r"(?:(?P<D>[0-9.,]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<H>[0-9.,]+)H)?(?:(?P<M>[0-9.,]+)M)?(?:(?P<S>[0-9.,]+)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = {"W": 604800, "D": 86400, "H": 3600, "M": 60, "S": 1}
_NUMBER = re.compile(r"[0-9]{1,15}(?:[.,][0-9]{1,15})?", re.ASCII)
_SLURM = re.compile(r"(?:([0-9]{1,9})-)?([0-9]{1,9})(?::([0-9]{1,9}))?(?::([0-9]{1,9}))?", re.ASCII)

_MEMORY_FORMS = "write bytes (10000000) or a number and a unit (kB MB GB TB, KiB MiB GiB TiB): 2GB"
_RUNTIME_FORMS = (
    "write seconds (5400), an ISO 8601 duration (PT1H30M, P1D) or one of Slurm's forms with a "
    "colon or a dash (minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, "
    "days-hours:minutes:seconds)"
)


def parse_memory(value: object) -> int:
    """Read a size: a whole number of bytes, or text such as "2GB", "1.5 GiB", "10000000".

    Units without an `i` are decimal, "2G" too; with it they are binary. Case does not matter.
    Fractions of a byte are rounded up.

    Returns
    -------
    int
        Bytes, 10**6 to 10**18.

    Raises
    ------
    ValueError
        With the rule and the forms that are taken.
    """
    if isinstance(value, str):
        size = _memory_text(value)
    else:
        size = _number(value, "a size", _MEMORY_FORMS)
        if size != int(size):
            raise ValueError(f"a size in bytes is a whole number, not {value!r}; {_MEMORY_FORMS}")
    if size < MIN_MEMORY:
        raise ValueError(f"{_show(value)} is less than the least memory, 1 MB; {_MEMORY_FORMS}")
    if size > MAX_MEMORY:
        raise ValueError(f"{_show(value)} is more memory than there is anywhere; {_MEMORY_FORMS}")
    return int(size)


def parse_runtime(value: object) -> int:
    """Read a run time.

    A plain number, in JSON or as text, is *seconds*, as the protocol has it: Slurm's form of plain
    minutes is not taken, so write "90:00" for 90 minutes. Slurm's two-part form is minutes:seconds.
    Years and months are refused: they have no fixed length. Fractions are rounded up.

    Returns
    -------
    int
        Seconds, 1 to 366 days.

    Raises
    ------
    ValueError
        With the rule and the forms that are taken.
    """
    if isinstance(value, str):
        seconds = _runtime_text(value.strip())
    else:
        seconds = _number(value, "a run time", _RUNTIME_FORMS)
    seconds = seconds.to_integral_value(ROUND_CEILING)
    if seconds < 1:
        raise ValueError(f"{_show(value)} is less than one second; {_RUNTIME_FORMS}")
    if seconds > MAX_RUNTIME:
        raise ValueError(f"{_show(value)} is more than 366 days; {_RUNTIME_FORMS}")
    return int(seconds)


def slurm_minutes(seconds: int) -> int:
    """Whole minutes for Slurm's `--time`, rounded up; never less than one."""
    return max(1, -(-seconds // 60))


def iso_duration(seconds: int) -> str:
    """Write seconds as an ISO 8601 duration of days, hours, minutes and seconds: PT1H30M."""
    days, rest = divmod(seconds, 86400)
    parts = ((rest // 3600, "H"), (rest // 60 % 60, "M"), (rest % 60, "S"))
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    if not days and not clock:
        return "PT0S"
    return f"P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def format_bytes(size: int) -> str:
    """Write bytes for a person in the largest decimal unit that loses nothing: 2GB, 1500kB."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def _memory_text(text: str) -> Decimal:
    match = _MEMORY.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{_show(text)} is no size; {_MEMORY_FORMS}")
    return (Decimal(match[1]) * _UNITS[match[2].lower()]).to_integral_value(ROUND_CEILING)


def _runtime_text(text: str) -> Decimal:
    if _NUMBER.fullmatch(text):
        return Decimal(text.replace(",", "."))
    if text.startswith("P"):
        return _iso_text(text)
    match = _SLURM.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f"{_show(text)} is no run time; {_RUNTIME_FORMS}")
    days, hours, minutes, seconds = (int(part) if part else 0 for part in match.groups())
    two_parts = match[1] is None and match[4] is None
    if two_parts:
        hours, minutes, seconds = 0, hours, minutes
    if seconds > 59 or (minutes > 59 and not two_parts):
        raise ValueError(
            f"{_show(text)} has more than 59 minutes or seconds after a colon; {_RUNTIME_FORMS}"
        )
    return Decimal(days * 86400 + hours * 3600 + minutes * 60 + seconds)


def _iso_text(text: str) -> Decimal:
    match = _ISO.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f"{_show(text)} is no ISO 8601 duration; {_RUNTIME_FORMS}")
    if match["Y"] or match["Mo"]:
        raise ValueError(
            f"{_show(text)} has years or months, whose length varies; write days (P30D), and "
            "minutes after a T (PT30M)"
        )
    given = [(unit, match[unit]) for unit in _ISO_SECONDS if match[unit] is not None]
    total = Decimal(0)
    for unit, number in given:
        fraction = "." in number or "," in number
        if not _NUMBER.fullmatch(number) or (fraction and unit != given[-1][0]):
            raise ValueError(
                f"{_show(text)} is no ISO 8601 duration: numbers are whole but for the last one; "
                f"{_RUNTIME_FORMS}"
            )
        total += Decimal(number.replace(",", ".")) * _ISO_SECONDS[unit]
    return total


def _number(value: object, what: str, forms: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is a number or text, not {_show(value)}; {forms}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, not {value!r}; {forms}")
    if abs(value) > 10**30:
        raise ValueError(f"{what} of {'-' if value < 0 else ''}more than 10**30; {forms}")
    return Decimal(value)


def _show(value: object) -> str:
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 60 else text[:60] + "…"
    return f"a {type(value).__name__}"
