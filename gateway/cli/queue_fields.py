"""The fields of ctsqueue: squeue's letters and long names, its formats, and its sorting (squeue(1))."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gateway.cli import states
from gateway.cli.common import UserError
from gateway.cli.queue_rows import Row
from gateway.cli.text import clean, duration, local

Value = str | int | float | None


class Field(NamedTuple):
    """A field: the letter of -o (some have none), the long name of -O, its title, what it shows, and what it is sorted by."""

    letter: str
    name: str
    title: str
    show: Callable[[Row], object]
    key: Callable[[Row], Value | tuple[int, int]] | None = None


class Column(NamedTuple):
    """A field as a format places it; `width` 0: as wide as it is."""

    field: Field
    width: int = 0
    right: bool = False
    before: str = ""
    after: str = ""


def _time(get: Callable[[Row], object]) -> Callable[[Row], object]:
    def show(row: Row) -> object:
        found = get(row)
        return "N/A" if found is None else local(found)  # type: ignore[arg-type]

    return show


def _stamp(get: Callable[[Row], object]) -> Callable[[Row], Value]:
    def key(row: Row) -> Value:
        found = get(row)
        return None if found is None else found.timestamp()  # type: ignore[attr-defined]

    return key


def _of(field: str, otherwise: str = "(null)") -> Callable[[Row], object]:
    def show(row: Row) -> object:
        found = row.asked(field)
        return otherwise if found is None else found

    return show


_ORDER = list(states.PHASES)
FIELDS = (
    Field("i", "JobArrayID", "JOBID", lambda r: r.id, lambda r: r.order),
    Field("A", "JobID", "JOBID", lambda r: r.id, lambda r: r.order),
    Field("F", "ArrayJobID", "ARRAY_JOB_ID", lambda r: r.job.id, lambda r: r.order),
    Field("K", "ArrayTaskID", "ARRAY_TASK_ID", lambda r: "N/A" if r.array_task is None else r.array_task, lambda r: r.array_task),
    Field("", "Cluster", "CLUSTER", _of("cluster", "")),
    Field("", "Site", "SITE", _of("cluster", "")),
    Field("P", "Partition", "PARTITION", lambda r: r.job.partition or ""),
    Field("j", "Name", "NAME", lambda r: r.name),
    Field("u", "UserName", "USER", lambda r: r.job.user),
    Field("U", "UserID", "UID", lambda r: "" if r.uid is None else r.uid, lambda r: r.uid),
    Field("t", "StateCompact", "ST", lambda r: states.code(r.phase), lambda r: _place(r.phase)),
    Field("T", "State", "STATE", lambda r: states.word(r.phase), lambda r: _place(r.phase)),
    Field("", "Phase", "PHASE", lambda r: r.phase, lambda r: _place(r.phase)),
    Field("M", "TimeUsed", "TIME", lambda r: duration(r.ran), lambda r: r.ran),
    Field("l", "TimeLimit", "TIME_LIMIT", lambda r: duration(r.limit) or "N/A", lambda r: r.limit),
    Field("L", "TimeLeft", "TIME_LEFT", lambda r: duration(r.left) or "N/A", lambda r: r.left),
    Field("V", "SubmitTime", "SUBMIT_TIME", _time(lambda r: r.submitted), _stamp(lambda r: r.submitted)),
    Field("S", "StartTime", "START_TIME", _time(lambda r: r.start), _stamp(lambda r: r.start)),
    Field("e", "EndTime", "END_TIME", _time(lambda r: r.end), _stamp(lambda r: r.end)),
    Field("D", "NumNodes", "NODES", lambda r: r.node_count, lambda r: r.node_count),
    Field("", "Containers", "CONTAINERS", lambda r: r.containers, lambda r: r.containers),
    Field("C", "NumCPUs", "CPUS", lambda r: r.cpus, lambda r: r.cpus),
    Field("m", "MinMemory", "MIN_MEMORY", lambda r: _memory(r.asked("memory")), lambda r: r.asked("memory")),
    Field("b", "tres-per-node", "TRES_PER_NODE", lambda r: f"gres/gpu:{r.asked('gpus')}" if r.asked("gpus") else "N/A"),
    Field("a", "Account", "ACCOUNT", lambda r: r.job.account or "(null)"),
    Field("q", "QOS", "QOS", lambda r: r.job.qos or "(null)"),
    Field("f", "Feature", "FEATURES", _of("constraint")),
    Field("v", "Reservation", "RESERVATION", _of("reservation")),
    Field("W", "Licenses", "LICENSES", _of("licenses")),
    Field("E", "Dependency", "DEPENDENCY", lambda r: _dependency(r.asked("depends_on"))),
    Field("N", "NodeList", "NODELIST", lambda r: ",".join(r.nodes)),
    Field("B", "BatchHost", "EXEC_HOST", lambda r: r.nodes[0] if r.nodes else "n/a"),
    Field("r", "Reason", "REASON", lambda r: r.reason or "None"),
    Field("R", "ReasonList", "NODELIST(REASON)", lambda r: r.nodes_or_reason),
    Field("o", "Command", "COMMAND", lambda r: r.job.image.name + (f":{r.job.image.tag}" if r.job.image.tag else "")),
    Field("Z", "WorkDir", "WORK_DIR", _of("output_dir", "")),
    Field("", "SlurmID", "SLURM_ID", lambda r: ",".join(r.job.slurm_jobs) if r.container is None else r.container.slurm_job_id or ""),
)  # fmt: skip
_LETTERS = {each.letter: each for each in FIELDS if each.letter}
NAMES = {each.name.lower(): each for each in FIELDS}
USUAL = (
    "jobid",
    "site",
    "name",
    "username",
    "statecompact",
    "timeused",
    "containers",
    "reasonlist",
)
LONG = (
    *("jobid", "site", "partition", "name", "username", "state", "timeused", "timelimit"),
    *("numnodes", "containers", "reasonlist"),
)
START = (
    *("jobid", "site", "partition", "name", "username", "statecompact", "starttime"),
    *("numnodes", "reasonlist"),
)
_SHORT = re.compile(r"%(?:(\.)?([0-9]{1,4}))?(all|[A-Za-z])")
_LONG = re.compile(r"([A-Za-z_-]+)(?::(\.)?([0-9]{0,4})(.*))?", re.DOTALL)
_DEFAULT_WIDTH = 20


def short_format(text: str) -> list[Column]:
    """Read a format of -o: `%.18i %.9P %j`.

    Raises
    ------
    UserError
        For a letter that there is not.
    """
    pieces = _SHORT.split(text)
    found: list[Column] = []
    before, rest = pieces[0], pieces[1:]
    if "%" in "".join(pieces[::4]):
        raise UserError(
            f"-o: {text[:200]!r} is no format; write %, a width and a letter, as in %.18i"
        )
    for start in range(0, len(rest), 4):
        right, width, letter, after = rest[start : start + 4]
        if letter == "all":
            fields = [each for each in FIELDS if each.letter]
            found += [Column(each, after="|") for each in fields[:-1]]
            found.append(Column(fields[-1], after=after, before=before if not found else ""))
            continue
        field = _LETTERS.get(letter)
        if field is None:
            raise UserError(f"-o: %{letter} is not known here; there are {_known_letters()}")
        found.append(Column(field, int(width or 0), right is not None, before, after))
        before = ""
    if not found:
        raise UserError(f"-o: {text[:200]!r} has no field; there are {_known_letters()}")
    return found


def long_format(text: str) -> list[Column]:
    """Read a format of -O: `JobID:.12,Name:20 ,State`.

    Raises
    ------
    UserError
        For a name that there is not.
    """
    found = []
    for part in text.split(","):
        match = _LONG.fullmatch(part.strip(" ") if ":" not in part else part.lstrip(" "))
        field = NAMES.get(match[1].lower()) if match else None
        if match is None or field is None:
            names = ", ".join(each.name for each in FIELDS)
            raise UserError(f"-O: {part[:100]!r} is not known here; there are {names}")
        width = int(match[3]) if match[3] else _DEFAULT_WIDTH
        found.append(Column(field, width, match[2] is not None, "", match[4] or ""))
    return found


def lines(columns: Sequence[Column], rows: Iterable[Row], *, header: bool) -> Iterable[str]:
    """Yield the lines of a format; what is wider than its column is cut, as by squeue."""
    if header:
        yield "".join(_cell(column, column.field.title) for column in columns).rstrip(" ")
    for row in rows:
        yield "".join(_cell(c, clean(c.field.show(row))) for c in columns).rstrip(" ")


def _cell(column: Column, text: str) -> str:
    if column.width:
        text = text[: column.width]
        text = text.rjust(column.width) if column.right else text.ljust(column.width)
    return f"{column.before}{text}{column.after}"


def sorter(text: str) -> Callable[[list[Row]], list[Row]]:
    """Read what -S has, `P,-S` or long names, and return what sorts rows so.

    Raises
    ------
    UserError
        For a field that there is not.
    """
    keys: list[tuple[Field, bool]] = []
    for part in text.split(","):
        name = part.strip()
        down = name.startswith("-")
        name = name.lstrip("+-")
        field = _LETTERS.get(name) or NAMES.get(name.lower())
        if field is None:
            raise UserError(
                f"-S: {part[:100]!r} is no field; there are {_known_letters()}, and the names of -O"
            )
        keys.append((field, down))

    def sort(rows: list[Row]) -> list[Row]:
        for field, down in reversed(keys):  # the last key first, for sorting is stable
            known = [(key, row) for row in rows if (key := _key(field, row)) is not None]
            unknown = [row for row in rows if _key(field, row) is None]
            known.sort(key=lambda pair: pair[0], reverse=down)
            rows = [*(row for _, row in known), *unknown]
        return rows

    return sort


def _key(field: Field, row: Row) -> Any:
    return str(field.show(row)) if field.key is None else field.key(row)


def _known_letters() -> str:
    return ", ".join(f"%{letter}" for letter in _LETTERS)


def _place(phase: str) -> int:
    return _ORDER.index(phase) if phase in states.PHASES else len(_ORDER)


def _memory(size: object) -> str:
    """Write bytes in MiB, as squeue does."""
    return f"{-(-size // (1 << 20))}M" if isinstance(size, int) else "N/A"


def _dependency(waits: object) -> str:
    if not isinstance(waits, list) or not waits:
        return "(null)"
    return ",".join(f"{each.get('condition', 'afterok')}:{each['job_id']}" for each in waits)
