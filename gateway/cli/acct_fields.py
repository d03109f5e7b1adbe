"""The fields of ctsacct: those of the accounting's rows, and what sacct(1) computes of the same; how each is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from gateway.cli import text
from gateway.cli.common import UserError
from gateway.wire import AcctRow

Value = str | int | float | datetime | None


class Field(NamedTuple):
    """A field: its name, what it is of a row, and its unit: seconds, bytes, or none."""

    name: str
    get: Callable[[AcctRow], Value]
    unit: str = ""


class Column(NamedTuple):
    """A field as a format places it; without a `width` it is as wide as it must be, with one below 0 left-aligned."""

    field: Field
    width: int | None = None


_SECONDS = ("Elapsed", "Timelimit", "QueueWait", "StageIn", "StageOut", "TotalCPU")
_BYTES = ("ReqMem", "MaxRSS", "InBytes", "OutBytes")
_COLUMN = re.compile(r"([A-Za-z]+)(?:%(-?[1-9][0-9]{0,2}))?", re.ASCII)


def _of(name: str) -> Field:
    unit = "seconds" if name in _SECONDS else "bytes" if name in _BYTES else ""
    return Field(name, lambda row: getattr(row, name), unit)


def _cpu_time(row: AcctRow) -> float | None:
    return None if row.Elapsed is None or row.NCPUS is None else row.Elapsed * row.NCPUS


def _whole(get: Callable[[AcctRow], float | None], per: int = 1) -> Callable[[AcctRow], Value]:
    def value(row: AcctRow) -> Value:
        found = get(row)
        return None if found is None else int(found) // per

    return value


FIELDS = (
    *(_of(name) for name in AcctRow.model_fields),
    # sacct's other names of the same, and its raw forms.
    Field("AllocCPUS", lambda row: row.NCPUS),
    Field("AllocNodes", lambda row: row.NNodes),
    Field("CPUTime", _cpu_time, "seconds"),
    Field("CPUTimeRAW", _whole(_cpu_time)),
    Field("ElapsedRaw", _whole(lambda row: row.Elapsed)),
    Field("Planned", lambda row: row.QueueWait, "seconds"),
    Field("TimelimitRaw", _whole(lambda row: row.Timelimit, 60)),
)
_NAMED = {field.name.lower(): field for field in FIELDS}
NAMES = tuple(field.name for field in FIELDS)
BRIEF = "JobID,State,ExitCode"
USUAL = "JobID,JobName,User,Site,State,ExitCode,Elapsed,StageIn,StageOut,InBytes,OutBytes,MaxRSS,SlurmID"
UNITS = "KMGTP"


def columns(wanted: str) -> list[Column]:
    """Read a format: `JobID%12,State`, or ALL.

    Raises
    ------
    UserError
        For a field that there is not, naming those that there are.
    """
    found: list[Column] = []
    for part in (part.strip() for part in wanted.split(",")):
        if part.lower() == "all":
            found += [Column(field) for field in FIELDS]
            continue
        match = _COLUMN.fullmatch(part)
        known = _NAMED.get(match[1].lower()) if match else None
        if match is None or known is None:
            raise UserError(
                f"-o: there is no field {part!r}; a field is a name and possibly %width (JobID%12); the names are: "
                f"{' '.join(NAMES)}"
            )
        found.append(Column(known, int(match[2]) if match[2] else None))
    return found


def unit_of(given: str | None) -> str | None:
    """Read what --units says.

    Raises
    ------
    UserError
        When it is none of Slurm's letters.
    """
    if given is not None and (len(given) != 1 or given.upper() not in UNITS):
        raise UserError(f"--units: {given!r} is none of K, M, G, T, P")
    return None if given is None else given.upper()


def shown(row: AcctRow, field: Field, *, plain: bool, unit: str | None) -> str:
    """Write a value as text: `plain` bytes as they are; else in a unit, or the one that suits it."""
    value = field.get(row)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return text.local(value)
    if field.unit == "seconds" and isinstance(value, int | float):
        return text.duration(value)
    if field.unit == "bytes" and isinstance(value, int | float):
        if unit is not None:
            return f"{value / 1024 ** (UNITS.index(unit) + 1):.2f}{unit}"
        return str(int(value)) if plain else text.size(value)
    return f"{value:.2f}" if isinstance(value, float) else text.clean(value)
