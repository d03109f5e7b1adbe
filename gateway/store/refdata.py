"""Queries on reference data, its sites, and the jobs that need it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlmodel import Session, and_, col, exists, func, or_, select

from gateway.store.jobs import ENDED, among, now
from gateway.store.tables import Container, Job, JobRefdata, Refdata, RefdataSite, RefdataTransition

UNDER_WAY = ("created", "download_submitted")


class Held(NamedTuple):
    """A job that waits for reference data: the reason that it has now, and what is known of the data at its site."""

    job_id: int
    reason: str | None
    refdata_id: int
    at: RefdataSite | None


def get(session: Session, refdata_id: int) -> Refdata | None:
    """Return reference data."""
    return session.get(Refdata, refdata_id)


def everything(session: Session) -> list[Refdata]:
    """List all, oldest first."""
    return list(session.exec(select(Refdata).order_by(col(Refdata.id))))


def of_object(session: Session, bucket: str, key: str) -> list[Refdata]:
    """Return the registrations of an object, oldest first, whatever it held then."""
    query = select(Refdata).where(Refdata.bucket == bucket, Refdata.key == key)
    return list(session.exec(query.order_by(col(Refdata.id))))


def sites(session: Session, refdata_ids: Sequence[int]) -> list[RefdataSite]:
    """Return what is known of some at their sites, by site."""
    query = select(RefdataSite).where(col(RefdataSite.refdata_id).in_(refdata_ids))
    return list(session.exec(query.order_by(col(RefdataSite.site))))


def history(session: Session, refdata_ids: Sequence[int]) -> list[RefdataTransition]:
    """Return the history of some at all sites, oldest first."""
    query = select(RefdataTransition).where(col(RefdataTransition.refdata_id).in_(refdata_ids))
    return list(session.exec(query.order_by(col(RefdataTransition.id))))


def job_reasons(session: Session, job_ids: Sequence[int]) -> dict[int, str | None]:
    """Return why the jobs that stage it wait."""
    query = select(Job.id, Job.reason).where(col(Job.id).in_(job_ids))
    return {number or 0: reason for number, reason in session.exec(query)}


def missing(session: Session, site: str) -> list[int]:
    """Return the ids of what a site has never heard of."""
    there = select(RefdataSite.site).where(
        RefdataSite.refdata_id == Refdata.id, RefdataSite.site == site
    )
    query = select(Refdata.id).where(~exists(there)).order_by(col(Refdata.id))
    return [number or 0 for number in session.exec(query)]


def to_do(session: Session, site: str) -> list[tuple[RefdataSite, Refdata]]:
    """Return what is under way at a site, and what is to be removed from it."""
    query = select(RefdataSite, Refdata).where(
        RefdataSite.refdata_id == Refdata.id,
        RefdataSite.site == site,
        or_(col(RefdataSite.state).in_(UNDER_WAY), col(RefdataSite.remove)),
    )
    return list(session.exec(query.order_by(col(Refdata.id))))


def move(session: Session, row: RefdataSite, state: str, error: str | None = None) -> None:
    """Bring reference data into a state at a site; a row of the history."""
    row.state, row.error = state, error
    session.add(row)
    session.add(
        RefdataTransition(
            refdata_id=row.refdata_id, site=row.site, state=state, time=now(), detail=error
        )
    )


def users_of(session: Session, refdata_id: int, site: str) -> list[int]:
    """Return the jobs at a site that have not ended and need it, oldest first."""
    query = select(Job.id).where(
        JobRefdata.job_id == Job.id,
        JobRefdata.refdata_id == refdata_id,
        Job.site == site,
        col(Job.phase).not_in(ENDED),
    )
    return [number or 0 for number in session.exec(query.order_by(col(Job.id)))]


def copies(session: Session, bucket: str, key: str, etag: str) -> int:
    """Return how often an object was registered with just this content."""
    query = select(func.count()).where(
        Refdata.bucket == bucket, Refdata.key == key, Refdata.etag == etag
    )
    return session.exec(query).one()


def held(session: Session, site: str, job_ids: Sequence[int] | None = None) -> list[Held]:
    """Return the jobs of a site (or those of these) with containers to be submitted, whose reference data is not there."""
    waiting = select(Container.index).where(
        Container.job_id == Job.id, Container.phase == "created"
    )
    here = and_(RefdataSite.refdata_id == JobRefdata.refdata_id, RefdataSite.site == site)
    query = (
        select(Job.id, Job.reason, JobRefdata.refdata_id, RefdataSite)
        .join(JobRefdata, col(JobRefdata.job_id) == Job.id)
        .join(RefdataSite, here, isouter=True)
        .where(
            Job.site == site,
            col(Job.phase).not_in(ENDED),
            exists(waiting),
            or_(col(RefdataSite.state).is_(None), RefdataSite.state != "complete"),
        )
    )
    if job_ids is not None:
        query = query.where(among(col(Job.id), job_ids))
    return [Held(number or 0, reason, of, at) for number, reason, of, at in session.exec(query)]


def of_jobs(session: Session, job_ids: Iterable[int]) -> dict[int, Refdata]:
    """Return the reference data of those of these jobs that have any."""
    query = select(JobRefdata.job_id, Refdata).where(
        JobRefdata.refdata_id == Refdata.id, among(col(JobRefdata.job_id), job_ids)
    )
    return dict(session.exec(query).all())
