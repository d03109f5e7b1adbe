"""Jobs that wait for other jobs: held by the gateway, not by Slurm, until these have ended as they had to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import structlog

from gateway.jobs.history import end_unrun
from gateway.jobs.states import Phase
from gateway.store import dependencies
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.dependencies import Unmet

log = structlog.get_logger()


def hold(database: Database, site: str) -> set[int]:
    """Return the jobs of a site that wait for others. They say so; those whose wait has become vain end in error."""
    with database.read() as session:
        found = dependencies.unmet(session, site)
    by_job = {number: list(rows) for number, rows in groupby(found, key=lambda row: row.job_id)}
    reasons: dict[str, list[int]] = {}
    for number, rows in by_job.items():
        vain = [row for row in rows if row.never]
        if vain:
            _end(database, vain[0])
        elif rows[0].reason != (reason := why(rows)):
            reasons.setdefault(reason, []).append(number)
    if reasons:
        with database.write() as session:
            for reason, some in reasons.items():
                store.explain(session, some, reason)
    return set(by_job)


def why(rows: Sequence[Unmet]) -> str:
    """Say what a job waits for."""
    first = rows[0]
    more = len(rows) - 1
    verb = "complete" if first.condition == dependencies.OK else "end"
    others = f" (and for {more} more job{'s' if more > 1 else ''})" if more else ""
    return f"waits for job {first.on_job_id} to {verb}{others}"


def _end(database: Database, vain: Unmet) -> None:
    state = "it is gone" if vain.phase is None else f"its state is {Phase.of(vain.phase).wire}"
    message = f"was not run: job {vain.on_job_id} had to complete first, and {state}"
    with database.write() as session:
        job = store.get(session, vain.job_id)
        if job is not None and job.phase == str(Phase.CREATED) and job.cancel_by is None:
            end_unrun(session, job, message)
    log.info("job.vain", job=vain.job_id, waited_for=vain.on_job_id)
