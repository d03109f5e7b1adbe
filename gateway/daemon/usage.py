"""Usage: what the accounting measured of a job, filled in once it has ended and the accounting knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gateway.slurm.protocol import StepRecord, TaskRecord
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Job

_PATIENCE = timedelta(minutes=10)


def record_usage(
    database: Database,
    site: str,
    jobs: list[Job],
    records: Mapping[tuple[str, int | None], TaskRecord],
) -> None:
    """Fill the usage of ended jobs; one whose accounting does not come in ten minutes is left as it is."""
    for job in jobs:
        with database.read() as session:
            containers = store.containers(session, job.id or 0)
            firsts = {s.id: s.first for s in store.submissions(session, job.id or 0)}
        found = {
            c.index: records.get((c.slurm_job_id, c.index - firsts.get(c.submission_id, 0)))
            for c in containers
            if c.slurm_job_id is not None
        }
        whole = all(record is not None and record.end is not None for record in found.values())
        if not whole and store.now() - job.updated < _PATIENCE:
            continue
        _store(
            database,
            job.id or 0,
            {index: record for index, record in found.items() if record is not None},
        )


def _store(database: Database, job_id: int, records: Mapping[int, TaskRecord]) -> None:
    with database.write() as session:
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
