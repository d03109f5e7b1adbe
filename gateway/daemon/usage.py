"""Usage: what the accounting measured of a job, filled in once it has ended and the accounting knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from gateway.daemon.judge import share
from gateway.jobs.states import Phase
from gateway.slurm.protocol import StepRecord, TaskRecord
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.submissions import submissions
from gateway.store.tables import Job

Key = tuple[str, int | None]
_PATIENCE = timedelta(minutes=10)


def record_usage(
    database: Database, jobs: Sequence[Job], records: Mapping[Key, TaskRecord]
) -> None:
    """Fill the usage of ended jobs from records that the accounting gave.

    One that it does not know whole ten minutes after its end gets what is known.
    """
    if not jobs:
        return
    ids = [job.id or 0 for job in jobs]
    tasks: dict[int, set[Key]] = {number: set() for number in ids}
    with database.read() as session:
        for row in submissions(session, ids):
            if row.slurm_job_id is not None:
                count = -(-len(row.containers) // row.per_task)
                tasks[row.job_id] |= {(row.slurm_job_id, task) for task in range(count)}
    late = {job.id or 0 for job in jobs if store.now() - job.updated >= _PATIENCE}
    whole = {number for number, keys in tasks.items() if all(_ended(records.get(k)) for k in keys)}
    if not whole | late:
        return
    with database.write() as session:
        for number in sorted(whole | late):
            _store(session, number, [records[k] for k in tasks[number] if k in records], records)


def _ended(record: TaskRecord | None) -> bool:
    return record is not None and record.end is not None


def _store(
    session: Session, job_id: int, tasks: Sequence[TaskRecord], records: Mapping[Key, TaskRecord]
) -> None:
    """Store what all tasks of a job used, those of earlier runs included, and of each container what its last run did."""
    job = store.get(session, job_id)
    if job is None or not Phase.of(job.phase).terminal:
        return  # it was restarted in this moment
    peak: int | None = None
    rows = [row for row in store.containers(session, job_id) if row.slurm_job_id is not None]
    sharing = Counter((row.slurm_job_id, row.task or 0) for row in rows)
    for container in rows:
        key = container.slurm_job_id or "", container.task or 0
        shared = sharing[key]
        record = share(records.get(key), container.index, shared=shared > 1)
        if record is None:
            continue
        container.usage = usage_of(record, shared)
        session.add(container)
        peak = max(filter(None, (peak, container.usage["max_rss"])), default=None)
    allocated = sum(record.elapsed * max(record.cpus, 1) for record in tasks)
    used = sum(step.cpu_seconds for record in tasks for step in record.steps)
    job.cpu_hours = allocated / 3600
    job.cpu_factor = used / allocated if allocated else None
    job.max_memory, job.usage_final = peak, True
    session.add(job)


def usage_of(record: TaskRecord, sharing: int = 1) -> dict[str, Any]:
    """Return a container's usage as it is stored: seconds, bytes, ISO times in UTC, and its steps.

    Of a task that several containers share, each has its part of the CPUs, and ended with its own last step.
    """
    run = [step for step in record.steps if step.name == "run"]
    end, elapsed = record.end, record.elapsed
    ends = [step.end for step in record.steps if step.end is not None]
    if sharing > 1 and ends and record.start is not None:
        end = max(ends)
        elapsed = max(0.0, (end - record.start).total_seconds())
    return {
        "submit": _iso(record.submit),
        "start": _iso(record.start),
        "end": _iso(end),
        "elapsed": elapsed,
        "cpus": record.cpus // sharing if sharing > 1 else record.cpus,
        "node": record.node,
        "state": record.state,
        "exit_code": record.exit_code,
        "cpu_seconds": sum(step.cpu_seconds for step in record.steps),
        "max_rss": max((step.max_rss or 0 for step in run), default=0) or None,
        "steps": [
            _step(step) for step in record.steps if step.name in ("stage-in", "run", "stage-out")
        ],
    }


def _step(step: StepRecord) -> dict[str, Any]:
    return {
        "name": step.name,
        "state": step.state,
        "exit_code": step.exit_code,
        "start": _iso(step.start),
        "end": _iso(step.end),
        "elapsed": step.elapsed,
        "cpu_seconds": step.cpu_seconds,
        "max_rss": step.max_rss,
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None
