"""Queries on the Slurm submissions of jobs, and on which containers are in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session, col, func, select

from gateway.store.jobs import ENDED, SMALL_CONTAINER, SMALL_JOB, among, near
from gateway.store.tables import Container, InputFile, Job, Submission

_MOST_TASKS = 10_000_000  # of an array; Slurm's bound is below


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
    session: Session, keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], tuple[Container, list[InputFile]]]:
    """Return containers (job, number) whole, each with its inputs, in order: its own, then those that all of its job get."""
    found = select(Container).where(*near(col(Container.job_id), col(Container.index), keys))
    own = near(col(InputFile.job_id), col(InputFile.container), keys)
    everyones = own[0], col(InputFile.container).is_(None)
    shares: dict[tuple[int, int | None], list[InputFile]] = {}
    for condition in (own, everyones):
        files = select(InputFile).where(*condition).order_by(col(InputFile.position))
        for item in session.exec(files):
            shares.setdefault((item.job_id, item.container), []).append(item)
    return {
        key: (row, shares.get(key, []) + shares.get((row.job_id, None), []))
        for row in session.exec(found)
        if (key := (row.job_id, row.index)) in keys
    }


def these(session: Session, ids: Iterable[int]) -> list[Submission]:
    """Return submissions by id."""
    return list(session.exec(select(Submission).where(among(col(Submission.id), ids))))


def members(session: Session, some: Collection[Submission]) -> list[Container]:
    """Return the containers that are still in these submissions, as `store.jobs.containers` does."""
    query = select(Container).where(
        among(col(Container.job_id), {each.job_id for each in some}),
        among(col(Container.submission_id), {each.id or 0 for each in some}),
    )
    query = query.options(*SMALL_CONTAINER)
    return list(session.exec(query.order_by(col(Container.job_id), col(Container.index))))


def unfinished(session: Session, job_ids: Iterable[int]) -> set[int]:
    """Return those of these jobs that have a submission which Slurm has neither taken nor refused."""
    query = select(Submission.job_id).where(
        among(col(Submission.job_id), job_ids),
        col(Submission.state).not_in(("submitted", "refused")),
    )
    return set(session.exec(query.distinct()))


def submissions(session: Session, job_ids: int | Iterable[int]) -> list[Submission]:
    """Return the submissions of a job or of many, in order."""
    query = select(Submission).where(among(col(Submission.job_id), job_ids))
    return list(session.exec(query.order_by(col(Submission.job_id), col(Submission.number))))


def waiting_for_room(session: Session, site: str, since: datetime) -> int:
    """Return how many submissions of a site were made ready before that time, and wait for Slurm to take more."""
    query = (
        select(func.count())
        .select_from(Submission)
        .join(Job, col(Job.id) == Submission.job_id)
        .where(
            Job.site == site,
            Submission.state == "prepared",
            col(Submission.created) < since,
            col(Job.cancel_by).is_(None),
        )
    )
    return session.exec(query).one()


def submissions_in(session: Session, site: str, state: str) -> list[tuple[Submission, Job]]:
    """Return the submissions of a site in that state, oldest first, with their jobs as `store.jobs.active` gives them."""
    query = (
        select(Submission, Job)
        .where(Submission.job_id == Job.id, Job.site == site, Submission.state == state)
        .options(*SMALL_JOB)
        .order_by(col(Submission.id))
    )
    return list(session.exec(query))


class Queued(NamedTuple):
    """How many array tasks of a user, account and QOS are in Slurm's queue."""

    user: str
    account: str | None
    qos: str | None
    tasks: int


def queued(session: Session, site: str) -> list[Queued]:
    """Return what a site's Slurm has and has not ended."""
    task = col(Container.submission_id) * _MOST_TASKS + func.coalesce(col(Container.task), 0)
    query = (
        select(Job.user, Job.account, Job.qos, func.count(task.distinct()))
        .join(Container, col(Container.job_id) == Job.id)
        .where(
            Job.site == site,
            col(Job.phase).not_in(ENDED),
            col(Container.phase).not_in(ENDED),
            col(Container.slurm_job_id).is_not(None),
        )
        .group_by(col(Job.user), col(Job.account), col(Job.qos))
    )
    return [Queued(*row) for row in session.exec(query)]


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


def last_numbers(session: Session, job_ids: Iterable[int]) -> dict[int, int]:
    """Return the number of the last submission of each of these jobs that has one."""
    query = select(Submission.job_id, func.max(Submission.number))
    query = query.where(among(col(Submission.job_id), job_ids)).group_by(col(Submission.job_id))
    return {number: last for number, last in session.exec(query) if last is not None}


def slurm_name(container: Container) -> str | None:
    """Return Slurm's name of the array task that runs a container; those that share a task share the name."""
    if container.slurm_job_id is None:
        return None
    return f"{container.slurm_job_id}_{container.task or 0}"
