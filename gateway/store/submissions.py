"""Queries on the Slurm submissions of jobs, and on which containers are in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlmodel import Session, col, func, or_, select

from gateway.store.jobs import ENDED, SMALL_CONTAINER, SMALL_JOB, among
from gateway.store.tables import Container, InputFile, Job, Submission


class Place(NamedTuple):
    """Where in a job a submission is: its number, and how many containers a task of it has."""

    number: int
    per_task: int


def waiting_jobs(session: Session, site: str) -> list[int]:
    """Return the ids of a site's jobs with containers that no submission has yet, oldest first; none that is canceled."""
    query = (
        select(Container.job_id)
        .join(Job, col(Job.id) == Container.job_id)
        .where(
            Container.phase == "created",
            Job.site == site,
            col(Job.phase).not_in(ENDED),
            col(Job.cancel_by).is_(None),
        )
    )
    return list(session.exec(query.distinct().order_by(col(Container.job_id))))


def given(
    session: Session, job_id: int, indexes: Collection[int]
) -> list[tuple[Container, list[InputFile]]]:
    """Return containers of a job whole, each with its inputs, in order: its own, then those that all get."""
    found = select(Container).where(
        Container.job_id == job_id, among(col(Container.index), indexes)
    )
    files = select(InputFile).where(
        InputFile.job_id == job_id,
        or_(among(col(InputFile.container), indexes), col(InputFile.container).is_(None)),
    )
    shares: dict[int | None, list[InputFile]] = {}
    for item in session.exec(files.order_by(col(InputFile.position))):
        shares.setdefault(item.container, []).append(item)
    rows = session.exec(found.order_by(col(Container.index)))
    shared = shares.get(None, [])
    return [(row, shares.get(row.index, []) + shared) for row in rows]


def members(session: Session, submission: Submission) -> list[Container]:
    """Return the containers of a submission that are still in it, as `store.jobs.containers` does."""
    query = select(Container).where(
        Container.job_id == submission.job_id, Container.submission_id == submission.id
    )
    return list(session.exec(query.options(*SMALL_CONTAINER).order_by(col(Container.index))))


def submissions(session: Session, job_ids: int | Iterable[int]) -> list[Submission]:
    """Return the submissions of a job or of many, in order."""
    query = select(Submission).where(among(col(Submission.job_id), job_ids))
    return list(session.exec(query.order_by(col(Submission.job_id), col(Submission.number))))


def submissions_in(session: Session, site: str, state: str) -> list[tuple[Submission, Job]]:
    """Return the submissions of a site in that state, oldest first, with their jobs as `store.jobs.active` gives them."""
    query = (
        select(Submission, Job)
        .where(Submission.job_id == Job.id, Job.site == site, Submission.state == state)
        .options(*SMALL_JOB)
        .order_by(col(Submission.id))
    )
    return list(session.exec(query))


def places(session: Session, job_ids: int | Iterable[int]) -> dict[int | None, Place]:
    """Return where the submissions of those jobs are, by the submission's id."""
    query = select(Submission.id, Submission.number, Submission.per_task)
    rows = session.exec(query.where(among(col(Submission.job_id), job_ids)))
    return {number: Place(at, per_task) for number, at, per_task in rows}


def slurm_jobs(session: Session, job_ids: int | Iterable[int]) -> dict[int, list[str]]:
    """Return the Slurm jobs of gateway jobs, in order."""
    query = (
        select(Submission.job_id, Submission.slurm_job_id)
        .where(among(col(Submission.job_id), job_ids), col(Submission.slurm_job_id).is_not(None))
        .order_by(col(Submission.job_id), col(Submission.number))
    )
    found: dict[int, list[str]] = {}
    for job_id, slurm in session.exec(query):
        found.setdefault(job_id, []).append(slurm or "")
    return found


def next_number(session: Session, job_id: int) -> int:
    """Return the number of a job's next submission."""
    query = select(func.max(Submission.number)).where(Submission.job_id == job_id)
    last = session.exec(query).one()
    return 0 if last is None else last + 1


def slurm_name(container: Container) -> str | None:
    """Return Slurm's name of the array task that runs a container; those that share a task share the name."""
    if container.slurm_job_id is None:
        return None
    return f"{container.slurm_job_id}_{container.task or 0}"
