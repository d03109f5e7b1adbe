"""Queries on the jobs that jobs wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select as sa_select
from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, or_

from gateway.store.jobs import ENDED
from gateway.store.tables import Job, JobDependency

OK, ANY = "afterok", "afterany"


class Unmet(NamedTuple):
    """A dependency that holds a job: the reason that it shows now, and the phase of the job it waits for (None: gone)."""

    job_id: int
    reason: str | None
    on_job_id: int
    condition: str
    phase: str | None

    @property
    def never(self) -> bool:
        """Whether it can be met no more."""
        return self.condition == OK and (self.phase is None or self.phase in ENDED)


def unmet(session: Session, site: str) -> list[Unmet]:
    """Return what holds jobs of a site that nothing was done with yet, by job; one query for all of them."""
    other = aliased(Job)
    query = (
        sa_select(
            *(col(Job.id), col(Job.reason)),
            *(col(JobDependency.on_job_id), col(JobDependency.condition), col(other.phase)),
        )
        .join(JobDependency, col(JobDependency.job_id) == Job.id)
        .join(other, col(other.id) == JobDependency.on_job_id, isouter=True)
        .where(
            col(Job.site) == site,
            col(Job.phase) == "created",
            col(Job.cancel_by).is_(None),
            or_(
                col(other.phase).not_in(ENDED),
                and_(
                    JobDependency.condition == OK,
                    or_(col(other.phase).is_(None), other.phase != "complete"),
                ),
            ),
        )
        .order_by(col(Job.id), col(JobDependency.on_job_id))
    )
    return [Unmet(*row) for row in session.execute(query)]


def ready(session: Session, site: str, job_ids: Sequence[int]) -> list[int]:
    """Return those of these jobs of a site that wait for no other."""
    if not job_ids:
        return []
    held = {row.job_id for row in unmet(session, site)}
    return [number for number in job_ids if number not in held]
