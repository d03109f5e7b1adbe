"""Lists of jobs: what is wanted of them, and in which order they come.

Two orders: by the last update, as the protocol has it, and by id, the newest first, for paging: an id never changes, so that
jobs that come or move on between two pages make none be missed or seen twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, delete, exists, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from gateway.store.tables import Job, JobLabel, JobShare


@dataclass(frozen=True)
class Reader:
    """Somebody who may read what is shared with them."""

    user: str
    groups: frozenset[str]


@dataclass(frozen=True)
class Filter:
    """Which jobs; None is any. `after` is inclusive, `before` exclusive, of the last update; all `labels` must hold.

    A label is (key, value), and value None is any value. An image is (name, tag, digest), of which the last two may be None. `shared_with` is for jobs of others that somebody may read.
    """

    user: str | None = None
    site: str | None = None
    phases: Sequence[str] | None = None
    after: datetime | None = None
    before: datetime | None = None
    name: str | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    image: tuple[str, str | None, str | None] | None = None
    shared_with: Reader | None = None


def listed(session: Session, wanted: Filter, limit: int, cursor: int | None = None) -> list[Job]:
    """Return jobs, the last updated first; with a cursor, those with ids below it (0: all), the newest first."""
    query = _query(wanted)
    if cursor is None:
        query = query.order_by(col(Job.updated).desc(), col(Job.id).desc())
    else:
        # The order of the index that the first label is found by: sorted rows are read, not sorted.
        order = col(JobLabel.job_id) if wanted.labels else col(Job.id)
        if cursor:
            query = query.where(order < cursor)
        query = query.order_by(order.desc())
    return list(session.exec(query.limit(limit)))


def _query(wanted: Filter) -> SelectOfScalar[Job]:
    query = select(Job)
    if wanted.user is not None:
        query = query.where(Job.user == wanted.user)
    if wanted.site is not None:
        query = query.where(Job.site == wanted.site)
    if wanted.phases is not None:
        query = query.where(col(Job.phase).in_(wanted.phases))
    if wanted.after is not None:
        query = query.where(Job.updated >= wanted.after)
    if wanted.before is not None:
        query = query.where(Job.updated < wanted.before)
    if wanted.name is not None:
        query = query.where(Job.name == wanted.name)
    if wanted.image is not None:
        name, tag, digest = wanted.image
        query = query.where(Job.image_name == name)
        for part, text in (("tag", tag), ("digest", digest)):
            if text is not None:
                query = query.where(col(Job.image)[part].as_string() == text)
    if wanted.shared_with is not None:
        query = query.where(Job.user != wanted.shared_with.user, shared(wanted.shared_with))
    return _labelled(query, wanted)


def _labelled(query: SelectOfScalar[Job], wanted: Filter) -> SelectOfScalar[Job]:
    """Find jobs by the first label; the others are looked up for those that it gives."""
    for number, (key, value) in enumerate(wanted.labels):
        label = JobLabel if number == 0 else aliased(JobLabel)
        rules = [col(label.job_id) == Job.id, col(label.key) == key]
        if value is not None:
            rules.append(col(label.value) == value)
        if wanted.user is not None:
            rules.append(col(label.user) == wanted.user)
        if number == 0:
            query = query.join(JobLabel, and_(*rules))
        else:
            query = query.where(exists().where(*rules))
    return query


def shared(reader: Reader) -> ColumnElement[bool]:
    """Whether a job is shared with somebody."""
    mine = select(JobShare.job_id).where(_names(reader))
    return col(Job.id).in_(mine)


def _names(reader: Reader) -> ColumnElement[bool]:
    """Whether a row of `job_share` names somebody."""
    return or_(
        and_(JobShare.kind == "user", JobShare.name == reader.user),
        and_(JobShare.kind == "group", col(JobShare.name).in_(sorted(reader.groups))),
    )


def may_read(session: Session, job_id: int, reader: Reader) -> bool:
    """Whether a job is shared with somebody."""
    query = select(JobShare.job_id).where(JobShare.job_id == job_id, _names(reader))
    return session.exec(query.limit(1)).first() is not None


def shares(session: Session, job_id: int) -> list[JobShare]:
    """Return with whom a job is shared, by name."""
    query = select(JobShare).where(JobShare.job_id == job_id)
    return list(session.exec(query.order_by(col(JobShare.kind), col(JobShare.name))))


def share(session: Session, job_id: int, users: Collection[str], groups: Collection[str]) -> None:
    """Share a job with these, and nobody else."""
    session.exec(delete(JobShare).where(col(JobShare.job_id) == job_id))
    for kind, names in (("user", users), ("group", groups)):
        session.add_all(JobShare(job_id=job_id, kind=kind, name=name) for name in set(names))
