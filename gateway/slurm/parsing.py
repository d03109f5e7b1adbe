"""Reading the machine formats of squeue, sacct and scontrol. Pure functions; fields are chosen by us."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from gateway.slurm.protocol import Limits, StepRecord, TaskRecord, TaskState

SQUEUE_FORMAT = "%A|%F|%K|%T|%N|%r|%k"
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

_JOB_ID = re.compile(r"([0-9]+)(?:_([0-9]+))?(?:\.(.+))?", re.ASCII)
_CPU = re.compile(r"(?:(?:([0-9]+)-)?([0-9]+):)?([0-9]+):([0-9]+)(\.[0-9]+)?", re.ASCII)
_SIZE = re.compile(r"([0-9.]+)([KMGTP]?)", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_squeue(text: str) -> list[TaskState]:
    """Read lines of `SQUEUE_FORMAT` (with `-r`: one array task a line). Lines of another form are left out."""
    tasks = []
    for line in text.splitlines():
        fields = line.split("|", 6)
        if len(fields) != 7:
            continue
        single, array, task, state, node, reason, comment = (value.strip() for value in fields)
        number = int(task) if task.isascii() and task.isdigit() else None
        tasks.append(
            TaskState(array if number is not None else single, number, comment, state, reason, node)
        )
    return tasks


def parse_sacct(text: str) -> list[TaskRecord]:
    """Read `sacct -P -n` lines of `SACCT_FIELDS`: a task's line and below it those of its steps."""
    tasks: list[TaskRecord] = []
    steps: list[StepRecord] = []
    found: dict[str, tuple[TaskRecord, list[StepRecord]]] = {}
    for line in text.splitlines():
        fields = line.split("|", len(SACCT_FIELDS) - 1)
        if len(fields) != len(SACCT_FIELDS):
            continue
        row = dict(zip(SACCT_FIELDS, fields, strict=True))
        match = _JOB_ID.fullmatch(row["JobID"])
        if match is None:
            continue
        key = row["JobID"].partition(".")[0]
        state = row["State"]
        if match[3] is not None:
            if key in found:
                found[key][1].append(
                    StepRecord(
                        row["JobName"],
                        state,
                        row["ExitCode"],
                        _when(row["Start"]),
                        _when(row["End"]),
                        _number(row["ElapsedRaw"]),
                        cpu_seconds(row["TotalCPU"]),
                        memory_bytes(row["MaxRSS"]),
                        int(_number(row["NCPUS"])),
                    )
                )
            continue
        steps = []
        record = TaskRecord(
            match[1],
            int(match[2]) if match[2] is not None else None,
            row["JobName"],
            row["Comment"],
            state,
            row["ExitCode"],
            _when(row["Submit"]),
            _when(row["Start"]),
            _when(row["End"]),
            _number(row["ElapsedRaw"]),
            int(_number(row["NCPUS"])),
            row["NodeList"],
        )
        found[key] = (record, steps)
    for record, its_steps in found.values():
        tasks.append(_with_steps(record, its_steps))
    return tasks


def _with_steps(record: TaskRecord, steps: Iterable[StepRecord]) -> TaskRecord:
    return TaskRecord(
        record.slurm_job_id,
        record.task,
        record.name,
        record.comment,
        record.state,
        record.exit_code,
        record.submit,
        record.start,
        record.end,
        record.elapsed,
        record.cpus,
        record.node,
        tuple(steps),
    )


def parse_config(text: str) -> Limits:
    """Read `scontrol show config`: `NAME = value` lines."""
    values = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign:
            values[name.strip()] = value.strip()
    return Limits(int(values.get("MaxArraySize", "1001")), values.get("SLURM_VERSION", "unknown"))


def cpu_seconds(text: str) -> float:
    """Read sacct's CPU time, `[[DD-]HH:]MM:SS[.mmm]`, as seconds; 0 where there is none."""
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _when(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
