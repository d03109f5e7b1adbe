"""How many jobs there are of what kind: what is asked for at each look at the metrics, whatever the number of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from gateway.store.tables import Container, Job


@dataclass(frozen=True)
class Waiting:
    """Containers of a site that Slurm has not got yet, and when the oldest of their jobs was made."""

    containers: int
    oldest: datetime


def jobs_by_phase(session: Session) -> dict[tuple[str, str], int]:
    """Count all jobs by site and phase; read from their index alone."""
    query = sa_select(col(Job.site), col(Job.phase), func.count()).group_by(
        col(Job.site), col(Job.phase)
    )
    return {(site, phase): number for site, phase, number in session.execute(query)}


def waiting(session: Session) -> dict[str, Waiting]:
    """Return what waits in the gateway, by site."""
    query = (
        sa_select(col(Job.site), func.count(), func.min(col(Job.created)))
        .join(Container, col(Container.job_id) == col(Job.id))
        .where(col(Container.phase) == "created")
        .group_by(col(Job.site))
    )
    return {site: Waiting(number, oldest) for site, number, oldest in session.execute(query)}
