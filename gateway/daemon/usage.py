"""Usage: what the accounting measured of a job, filled in once it has ended and the accounting knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from gateway.slurm.protocol import StepRecord, TaskRecord
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Job

_PATIENCE = timedelta(minutes=10)


def record_usage(
    database: Database, jobs: Sequence[Job], records: Mapping[tuple[str, int | None], TaskRecord]
) -> None:
    """Fill the usage of ended jobs from records that the accounting gave.

    One that it does not know whole ten minutes after its end gets what is known.
    """
    if not jobs:
        return
    ids = [job.id or 0 for job in jobs]
    found: dict[int, dict[int, TaskRecord | None]] = {number: {} for number in ids}
    with database.read() as session:
        firsts = store.firsts(session, ids)
        for row in store.containers(session, ids):
            if row.slurm_job_id is not None:
                key = row.slurm_job_id, store.array_task(row, firsts)
                found[row.job_id][row.index] = records.get(key)
    late = {job.id or 0 for job in jobs if store.now() - job.updated >= _PATIENCE}
    whole = {
        number
        for number, parts in found.items()
        if all(record is not None and record.end is not None for record in parts.values())
    }
    if not whole | late:
        return
    with database.write() as session:
        for number in sorted(whole | late):
            _store(session, number, found[number])


def _store(session: Session, job_id: int, records: Mapping[int, TaskRecord | None]) -> None:
    job = store.get(session, job_id)
    if job is None:
        return
    allocated = used = 0.0
    peak: int | None = None
    for container in store.containers(session, job_id):
        record = records.get(container.index)
        if record is None:
            continue
        usage = usage_of(record)
        container.usage = usage
        session.add(container)
        allocated += record.elapsed * max(record.cpus, 1)
        used += usage["cpu_seconds"]
        peak = max(filter(None, (peak, usage["max_rss"])), default=None)
    job.cpu_hours = allocated / 3600
    job.cpu_factor = used / allocated if allocated else None
    job.max_memory, job.usage_final = peak, True
    session.add(job)


def usage_of(record: TaskRecord) -> dict[str, Any]:
    """Return a task's usage as it is stored: seconds, bytes, ISO times in UTC, and its steps."""
    run = [step for step in record.steps if step.name == "run"]
    return {
        "submit": _iso(record.submit),
        "start": _iso(record.start),
        "end": _iso(record.end),
        "elapsed": record.elapsed,
        "cpus": record.cpus,
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
