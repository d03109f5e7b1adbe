"""Queries on what ended jobs leave at their site: whole directories, and logs that are to go into S3 first."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select

from gateway.store import jobs
from gateway.store.tables import Job


def logs_unstored(session: Session, site: str, after: int = 0) -> list[Job]:
    """Return jobs, later than `after`, that have ended and whose logs are not in S3, as `active` gives them."""
    query = select(Job).where(
        Job.site == site,
        col(Job.phase).in_(jobs.ENDED),
        col(Job.logs_cleaned).is_(False),
        ~_logs_stored(),
        col(Job.id) > after,
    )
    query = query.options(*jobs.SMALL_JOB).order_by(col(Job.id)).limit(jobs.MOST_UNCLEANED)
    return list(session.exec(query))


def removable(
    session: Session, site: str, logs_before: datetime | None, after: int = 0
) -> list[Job]:
    """Return jobs, later than `after`, whose whole directory at a site is of no use any more, as `active` gives them.

    They are cleaned, and their logs are in S3; or, where none are put there, they ended before `logs_before`. And those
    that an admin wants gone.
    """
    if logs_before is None:
        kept = _logs_stored()
        asked = or_(Job.clean == "forced", and_(col(Job.clean).is_not(None), kept))
    else:
        kept = col(Job.updated) < logs_before
        asked = col(Job.clean).is_not(None)
    query = select(Job).where(
        Job.site == site,
        col(Job.phase).in_(jobs.ENDED),
        col(Job.logs_cleaned).is_(False),
        or_(asked, and_(col(Job.cleaned).is_(True), kept)),
        col(Job.id) > after,
    )
    query = query.options(*jobs.SMALL_JOB).order_by(col(Job.id)).limit(jobs.MOST_UNCLEANED)
    return list(session.exec(query))


def _logs_stored() -> ColumnElement[bool]:
    """Whether logs are in S3: those of a job that went on after its end and ended again are not."""
    stored = col(Job.logs_stored)
    return and_(stored.is_not(None), stored >= Job.updated)
