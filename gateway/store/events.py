"""Queries on transitions as events, and on who is told of them.

Ids of transitions become visible in their order: writers come one after the other (`Database.write`), and each has its lock
until what it wrote can be seen. So what has an id up to one that was seen is there, or will never be.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from gateway.store.jobs import SMALL_JOB, among
from gateway.store.tables import Job, Resend, Subscriber, Transition


@dataclass(frozen=True)
class Happened:
    """A transition of a job, or of one of its containers, with whose job it is."""

    id: int
    job_id: int
    container: int | None
    phase: str
    time: datetime
    detail: str | None
    user: str
    name: str | None
    site: str


def newest(session: Session) -> int:
    """Return the id of the newest transition; 0 where there is none."""
    return session.exec(select(func.max(Transition.id))).one() or 0


def newest_resend(session: Session) -> int:
    """Return the id of the newest row of `resend`; 0 where there is none."""
    return session.exec(select(func.max(Resend.id))).one() or 0


def between(
    session: Session,
    after: int,
    upto: int | None,
    limit: int,
    *,
    user: str | None = None,
    jobs: Collection[int] | None = None,
    phases: Collection[str] | None = None,
    containers: bool = True,
) -> list[Happened]:
    """Return transitions later than `after`, up to `upto`, in the order of their ids; of those that are asked for."""
    query = select(Transition, Job.user, Job.name, Job.site).join(
        Job, col(Job.id) == Transition.job_id
    )
    query = query.where(col(Transition.id) > after)
    if upto is not None:
        query = query.where(col(Transition.id) <= upto)
    if user is not None:
        query = query.where(Job.user == user)
    if jobs is not None:
        query = query.where(among(col(Transition.job_id), jobs))
    if phases is not None:
        query = query.where(col(Transition.phase).in_(phases))
    if not containers:
        query = query.where(col(Transition.container).is_(None))
    rows = session.exec(query.order_by(col(Transition.id)).limit(limit))
    return [_happened(*row) for row in rows]


def resent(session: Session, after: int, limit: int) -> list[tuple[int, Happened]]:
    """Return what is to be sent once more: ids of `resend` later than `after`, each with its transition."""
    query = (
        select(Resend, Transition, Job)
        .join(Transition, col(Transition.id) == Resend.transition_id)
        .join(Job, col(Job.id) == Transition.job_id)
        .options(*SMALL_JOB)
        .where(col(Resend.id) > after)
        .order_by(col(Resend.id))
        .limit(limit)
    )
    return [
        (row.id or 0, _happened(transition, job.user, job.name, job.site))
        for row, transition, job in session.exec(query)
    ]


def subscribers(session: Session, *, user: str | None = None) -> list[Subscriber]:
    """Return all subscribers, or a user's, the oldest first."""
    query = select(Subscriber).order_by(col(Subscriber.id))
    if user is not None:
        query = query.where(Subscriber.user == user)
    return list(session.exec(query))


def _happened(row: Transition, user: str, name: str | None, site: str) -> Happened:
    return Happened(
        row.id or 0, row.job_id, row.container, row.phase, row.time, row.detail, user, name, site
    )
