"""Reading the machine formats of squeue, sacct, scontrol and sinfo. Pure functions; fields are chosen by us.

No text makes them raise: a line of another form is left out, a value that cannot be read counts as missing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from gateway.slurm.protocol import Limits, Partition, StepRecord, TaskRecord, TaskState

# Free text comes last, so that a | in it does no harm.
SQUEUE_FORMAT = "%A|%F|%K|%T|%N|%Q|%S|%r|%k"
_SQUEUE_FIELDS = 9
SINFO_FORMAT = "%R|%P|%a|%l|%F"
_SINFO_FIELDS = 5
SACCT_FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "TotalCPU",
    "MaxRSS",
    "NCPUS",
    "NodeList",
    "JobName",
    "Comment",
)

_JOB_ID = re.compile(
    r"([0-9]{1,10})(?:_(?:([0-9]{1,10})|\[([0-9,:-]+)(?:%[0-9]+)?\]))?(?:\.(.+))?", re.ASCII
)
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?", re.ASCII)
_CPU = re.compile(
    r"(?:(?:([0-9]{1,9})-)?([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,9})(\.[0-9]{1,9})?", re.ASCII
)
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([KMGTP]?)", re.ASCII)
_AVAILABLE = {"inact": "INACTIVE"}  # the one that sinfo cuts short
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_MASK = re.compile(r"0x([0-9A-Fa-f]{1,25000})(?:%|$)", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
# No site has larger arrays (MaxArraySize is 4,000,001 at most, 1,001 by default).
_MOST_TASKS = 100_000


def parse_squeue(text: str) -> list[TaskState]:
    """Read lines of `SQUEUE_FORMAT` (with `-r`: one array task a line). Lines of another form are left out."""
    tasks = []
    for line in text.split("\n"):
        fields = [value.strip() for value in line.split("|", _SQUEUE_FIELDS - 1)]
        if len(fields) != _SQUEUE_FIELDS:
            continue
        single, array, index, state, node, priority, start, reason, comment = fields
        if not (_WHOLE.fullmatch(single) and _WHOLE.fullmatch(array)):
            continue
        indexes = task_indexes(index.partition("%")[0].strip("[]"))
        tag = "" if comment == "(null)" else comment
        number, among = (single, [None]) if indexes is None else (array, indexes)
        times = _whole(priority), _when(start)
        tasks += [TaskState(number, task, tag, state, reason, node, *times) for task in among]
    return tasks


def parse_sacct(text: str) -> list[TaskRecord]:
    """Read `sacct -P -n` lines of `SACCT_FIELDS`: a task's line and below it those of its steps.

    Array tasks that never started share a line (`12_[3-5]`, `12_[0-9%2]`): each gets its own record. Of a task that
    was requeued and is shown more than once (`--duplicates`), the last record counts, with its own steps.
    """
    found: dict[tuple[str, int | None], tuple[TaskRecord, list[StepRecord]]] = {}
    for line in text.split("\n"):
        fields = line.split("|", len(SACCT_FIELDS) - 1)
        if len(fields) != len(SACCT_FIELDS):
            continue
        row = dict(zip(SACCT_FIELDS, (value.strip() for value in fields), strict=True))
        match = _JOB_ID.fullmatch(row["JobID"])
        if match is None:
            continue
        job_id, index, indexes, step = match.groups()
        tasks: list[int | None] = [None if index is None else int(index)]
        if indexes is not None:
            tasks = list(task_indexes(indexes) or ())
        for task in tasks:
            if step is not None:
                if (job_id, task) in found:
                    found[job_id, task][1].append(_step(row))
            elif indexes is None or (job_id, task) not in found:  # a shared line is older news
                found[job_id, task] = (_record(job_id, task, row), [])
    return [_with_steps(record, steps) for record, steps in found.values()]


def _record(job_id: str, task: int | None, row: dict[str, str]) -> TaskRecord:
    return TaskRecord(
        job_id,
        task,
        row["JobName"],
        row["Comment"],
        row["State"],
        row["ExitCode"],
        _when(row["Submit"]),
        _when(row["Start"]),
        _when(row["End"]),
        float(_whole(row["ElapsedRaw"])),
        _whole(row["NCPUS"]),
        row["NodeList"],
    )


def _step(row: dict[str, str]) -> StepRecord:
    return StepRecord(
        row["JobName"],
        row["State"],
        row["ExitCode"],
        _when(row["Start"]),
        _when(row["End"]),
        float(_whole(row["ElapsedRaw"])),
        cpu_seconds(row["TotalCPU"]),
        memory_bytes(row["MaxRSS"]),
        _whole(row["NCPUS"]),
    )


def _with_steps(record: TaskRecord, steps: list[StepRecord]) -> TaskRecord:
    return replace(record, steps=tuple(steps)) if steps else record


def task_indexes(text: str) -> list[int] | None:
    """Read array indexes (`3`, `3-5`, `0-8:2,11`); None where the text is none, or names too many to be true."""
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        step = max(1, int(match[3] or 1))
        if (last - first) // step + len(found) >= _MOST_TASKS:
            return None
        found += range(first, last + 1, step)
    return found


def array_tasks(
    single: int, array: int | None, task: int | None, pending: str
) -> tuple[str, list[int | None]]:
    """Return Slurm's job and the array tasks that an entry is of: one, several that wait together, or no array's.

    `pending` are the indexes of those that wait: `2-5%2`, or a bit each, as the accounting has them: `0x3C`.
    """
    if not array:
        return str(single or ""), [None]
    if task is not None:
        return str(array), [task]
    several = (
        _bits(pending) if pending.startswith("0x") else task_indexes(pending.partition("%")[0])
    )
    return str(array), list(several) if several is not None else [None]


def _bits(text: str) -> list[int] | None:
    match = _MASK.match(text)
    if match is None:
        return None
    mask = int(match[1], 16)
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


def parse_config(text: str) -> Limits:
    """Read `scontrol show config`. Slurm's default stands for a limit that is not shown."""
    values = config_values(text)
    shown = values.get("MaxArraySize", "")
    size = int(shown) if _WHOLE.fullmatch(shown) else 1001
    # 0 forbids arrays; of one task each, Slurm itself says so at submission.
    version = values.get("SLURM_VERSION", "unknown")
    return Limits(max(1, size), version, keeps_accounting(values.get("AccountingStorageType")))


def config_values(text: str) -> dict[str, str]:
    """Read the `NAME = value` lines of `scontrol show config`."""
    values = {}
    for line in text.split("\n"):
        name, sign, value = line.partition("=")
        if sign:
            values[name.strip()] = value.strip()
    return values


def keeps_accounting(shown: str | None) -> bool:
    """Tell of Slurm's `AccountingStorageType` whether sacct can know anything; where it is not shown, it may."""
    return shown not in ("", "(null)", "accounting_storage/none")


def parse_sinfo(text: str) -> list[Partition]:
    """Read lines of `SINFO_FORMAT`, a partition each; only that which is the default has another form of its name (`*`)."""
    found = []
    for line in text.split("\n"):
        fields = [value.strip() for value in line.split("|")]
        if len(fields) != _SINFO_FIELDS or not fields[0]:
            continue
        name, starred, state, longest, counts = fields
        limited = _CPU.fullmatch(longest) is not None
        numbers = [_whole(text) for text in counts.split("/")]
        allocated, idle, other, nodes = numbers if len(numbers) == 4 else (None, None, None, 0)
        found.append(
            Partition(
                name,
                _AVAILABLE.get(state, state.upper()),
                int(cpu_seconds(longest)) // 60 if limited else None,
                nodes,
                starred != name,
                allocated,
                idle,
                other,
            )
        )
    return found


def cpu_seconds(text: str) -> float:
    """Read a time as sacct and sinfo write it, `[[DD-]HH:]MM:SS[.mmm]`, as seconds; 0 where there is none."""
    match = _CPU.fullmatch(text.strip())
    if match is None:
        return 0.0
    days, hours, minutes, seconds, part = match.groups()
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole + float(part or 0)


def memory_bytes(text: str) -> int | None:
    """Read sacct's MaxRSS, such as `1234K`, as bytes; None where there is none."""
    match = _SIZE.fullmatch(text.strip())
    return None if match is None else int(float(match[1]) * 1024 ** _POWERS[match[2]])


def _whole(text: str) -> int:
    return int(text) if _WHOLE.fullmatch(text) else 0


def _when(text: str) -> datetime | None:
    """Read a time as sacct writes it (in UTC, as it was asked); None for `Unknown`, `None` and the like."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
