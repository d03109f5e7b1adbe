"""Reading slurmrestd's documents, of the versions that `slurmrestd.KNOWN` names. Pure functions.

As with the commands' formats, nothing makes them raise: what is not of the form counts as missing. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from gateway.slurm.parsing import array_tasks, keeps_accounting
from gateway.slurm.protocol import Limits, Partition, StepRecord, TaskRecord, TaskState

# A job's state is a base state and flags; squeue and sacct show one word, the first of these that is set, else the base
# (`job_state_string`, src/common/slurm_protocol_defs.c).
_FLAGS = (
    *("COMPLETING", "STAGE_OUT", "CONFIGURING", "EXPEDITING", "RESIZING", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING"),
)  # fmt: skip


def read_queue(document: dict[str, Any], user: str) -> list[TaskState]:
    """Return the array tasks of a user in slurmctld's list of jobs (`GET /slurm/…/jobs/`)."""
    tasks = []
    for job in _dicts(document.get("jobs")):
        if job.get("user_name") != user:
            continue
        number, among = _tasks(
            job,
            _number(job.get("array_job_id")),
            job.get("array_task_id"),
            _text(job.get("array_task_string")),
        )
        shown = (
            _text(job.get("comment")),
            _state(job.get("job_state")),
            _text(job.get("state_reason")),
            _text(job.get("nodes")),
            _number(job.get("priority")) or 0,
            _when(job.get("start_time")),
        )
        tasks += [TaskState(number, task, *shown) for task in among if number]
    return tasks


def read_accounting(document: dict[str, Any]) -> list[TaskRecord]:
    """Return the array tasks in slurmdbd's list of jobs (`GET /slurmdb/…/jobs/`), each with its steps."""
    records = []
    for job in _dicts(document.get("jobs")):
        array = _dict(job.get("array"))
        number, among = _tasks(
            job, _number(array.get("job_id")), array.get("task_id"), _text(array.get("task"))
        )
        times = _dict(job.get("time"))
        state = _state(_dict(job.get("state")).get("current"))
        by = _text(job.get("kill_request_user"))
        told = (
            _text(job.get("name")),
            _text(_dict(job.get("comment")).get("job")),
            f"{state} by {by}" if state == "CANCELLED" and by else state,
            _exit_code(job.get("exit_code")),
            _when(times.get("submission")),
            _when(times.get("start")),
            _when(times.get("end")),
            float(_number(times.get("elapsed")) or 0),
            _allocated(job, "cpu"),
            _text(job.get("nodes")),
            tuple(_step(step) for step in _dicts(job.get("steps"))),
        )
        records += [TaskRecord(number, task, *told) for task in among if number]
    return records


def read_partitions(document: dict[str, Any]) -> list[Partition]:
    """Return the partitions in slurmctld's list (`GET /slurm/…/partitions/`), of v0.0.45 and newer: older ones do not tell the default."""
    return [
        Partition(
            _text(each.get("name")),
            _state(_dict(each.get("partition")).get("state")),
            _number(_dict(each.get("maximums")).get("time")),
            _number(_dict(each.get("nodes")).get("total")) or 0,
            "DEFAULT" in _list(each.get("flags")),
        )
        for each in _dicts(document.get("partitions"))
    ]


def only_jobs(document: dict[str, Any], slurm_job_ids: Collection[str]) -> dict[str, Any]:
    """Return slurmctld's list with these jobs (`77`) and array tasks (`77_3`) alone."""

    def wanted(job: dict[str, Any]) -> bool:
        number = str(_number(job.get("array_job_id")) or _number(job.get("job_id")))
        return not {number, f"{number}_{_number(job.get('array_task_id'))}"}.isdisjoint(
            slurm_job_ids
        )

    return {**document, "jobs": [job for job in _dicts(document.get("jobs")) if wanted(job)]}


def read_limits(document: dict[str, Any]) -> Limits | None:
    """Return the limits in slurmctld's configuration (`GET /slurm/…/conf`); None where it has none."""
    for values in document.values():
        shown = _dict(values)
        size = _number(shown.get("MaxArraySize"))
        if size is not None:
            kept = keeps_accounting(shown.get("AccountingStorageType"))
            return Limits(max(1, size), release(document), kept)
    return None


def release(document: dict[str, Any]) -> str:
    """Return the version of Slurm that a document is of."""
    slurm = _dict(_dict(document.get("meta")).get("slurm"))
    return _text(slurm.get("release")) or "unknown"


def _tasks(
    job: dict[str, Any], array: int | None, index: object, pending: str
) -> tuple[str, list[int | None]]:
    return array_tasks(_number(job.get("job_id")) or 0, array, _number(index), pending)


def _step(step: dict[str, Any]) -> StepRecord:
    times = _dict(step.get("time"))
    total = _dict(times.get("total"))
    usage = _dict(_dict(step.get("tres")).get("requested"))
    memory = next((_number(m.get("count")) for m in _dicts(usage.get("max")) if m.get("type") == "mem"), None)  # fmt: skip
    return StepRecord(
        _text(_dict(step.get("step")).get("name")),
        _state(step.get("state")),
        _exit_code(step.get("exit_code")),
        _when(times.get("start")),
        _when(times.get("end")),
        float(_number(times.get("elapsed")) or 0),
        (_number(total.get("seconds")) or 0) + (_number(total.get("microseconds")) or 0) / 1e6,
        memory,
        _allocated(step, "cpu"),
    )


def _state(value: object) -> str:
    words = [word for word in _list(value) if isinstance(word, str)]
    flag = next((flag for flag in _FLAGS if flag in words), None)
    return flag or (words[0] if words else "")


def _exit_code(value: object) -> str:
    """Return `code:signal`, as sacct writes it."""
    code = _dict(value)
    signal = _number(_dict(_dict(code.get("signal")).get("id")))
    return f"{_number(code.get('return_code')) or 0}:{signal or 0}"


def _allocated(entry: dict[str, Any], kind: str) -> int:
    found = _dicts(_dict(entry.get("tres")).get("allocated"))
    return next((_number(each.get("count")) or 0 for each in found if each.get("type") == kind), 0)


def _when(value: object) -> datetime | None:
    seconds = _number(value)
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _number(value: object) -> int | None:
    """Return a number, also one of those that may be left out: `{"set": true, "infinite": false, "number": 3}`."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in _list(value) if isinstance(each, dict))
