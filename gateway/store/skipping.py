"""Queries on containers that were done before."""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session, col, select

from gateway.store.jobs import outputs_of
from gateway.store.tables import Container, Job, OutputFile

Key = tuple[int, int]  # job and number of a container


def unchecked(session: Session, site: str) -> list[int]:
    """Return the jobs of a site whose containers are to be looked for among those done before, oldest first."""
    query = select(Job.id).where(
        Job.site == site,
        Job.phase == "created",
        col(Job.skip_check),
        ~col(Job.unplanned),
        col(Job.cancel_by).is_(None),
    )
    return [number or 0 for number in session.exec(query.order_by(col(Job.id)))]


def done_before(session: Session, job_id: int) -> dict[int, Key]:
    """Return for the containers of a job the same ones of other jobs that are complete, the last to end where there are several."""
    query = select(Container.index, Container.fingerprint).where(
        Container.job_id == job_id, col(Container.fingerprint).is_not(None)
    )
    mine = {mark or "": index for index, mark in session.exec(query)}
    same = select(Container.fingerprint, Container.job_id, Container.index).where(
        col(Container.fingerprint).in_(list(mine)),
        Container.phase == "complete",
        Container.job_id != job_id,
    )
    rows = session.exec(same.order_by(col(Container.ended), col(Container.job_id)))
    return {mine[mark or ""]: (number, index) for mark, number, index in rows}


def outputs_by_container(session: Session, keys: Collection[Key]) -> dict[Key, list[OutputFile]]:
    """Return the outputs of containers that were seen in S3."""
    found: dict[Key, list[OutputFile]] = {key: [] for key in keys}
    for row in outputs_of(session, keys):
        if row.verified:
            found[row.job_id, row.container].append(row)
    return found
