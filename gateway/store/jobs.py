"""Queries on jobs, containers, their files and their Slurm submissions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlmodel import Session, and_, col, func, or_, select

from gateway.store.tables import Container, InputFile, Job, OutputFile, Submission, Transition

ENDED = ("complete", "error", "canceled")
MOST_UNCLEANED = 100


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def get(session: Session, job_id: int) -> Job | None:
    """Return a job."""
    return session.get(Job, job_id)


def listed(
    session: Session,
    *,
    user: str | None,
    site: str | None,
    phases: Sequence[str] | None,
    after: datetime | None,
    before: datetime | None,
    limit: int,
) -> list[Job]:
    """Return jobs, the last updated first; `after` is inclusive, `before` exclusive, of the last update."""
    query = select(Job)
    if user is not None:
        query = query.where(Job.user == user)
    if site is not None:
        query = query.where(Job.site == site)
    if phases is not None:
        query = query.where(col(Job.phase).in_(phases))
    if after is not None:
        query = query.where(Job.updated >= after)
    if before is not None:
        query = query.where(Job.updated < before)
    return list(
        session.exec(query.order_by(col(Job.updated).desc(), col(Job.id).desc()).limit(limit))
    )


def at_site(session: Session, site: str, phases: Iterable[str]) -> list[Job]:
    """Return the jobs of a site in those phases, oldest first."""
    query = (
        select(Job).where(Job.site == site, col(Job.phase).in_(list(phases))).order_by(col(Job.id))
    )
    return list(session.exec(query))


def active(session: Session, site: str) -> list[Job]:
    """Return the jobs of a site that have not ended, oldest first."""
    query = select(Job).where(Job.site == site, col(Job.phase).not_in(ENDED)).order_by(col(Job.id))
    return list(session.exec(query))


def any_active(session: Session, site: str) -> bool:
    """Whether a site has jobs that have not ended."""
    query = select(Job.id).where(Job.site == site, col(Job.phase).not_in(ENDED)).limit(1)
    return session.exec(query).first() is not None


def containers(session: Session, job_ids: int | Sequence[int]) -> list[Container]:
    """Return the containers of a job, or of many jobs, by job and number."""
    wanted = [job_ids] if isinstance(job_ids, int) else list(job_ids)
    query = select(Container).where(col(Container.job_id).in_(wanted))
    return list(session.exec(query.order_by(col(Container.job_id), col(Container.index))))


def counts(session: Session, job_id: int) -> dict[str, int]:
    """Return how many containers of a job are in each phase."""
    query = (
        select(Container.phase, func.count())
        .where(Container.job_id == job_id)
        .group_by(Container.phase)
    )
    return {row[0]: row[1] for row in session.exec(query).all()}


def inputs(session: Session, job_id: int, container: int | None = None) -> list[InputFile]:
    """Return the inputs of a job, or of one container, in order."""
    query = select(InputFile).where(InputFile.job_id == job_id)
    if container is not None:
        query = query.where(InputFile.container == container)
    return list(session.exec(query.order_by(col(InputFile.position))))


def outputs(session: Session, job_id: int, container: int | None = None) -> list[OutputFile]:
    """Return the outputs of a job, or of one container, by key."""
    query = select(OutputFile).where(OutputFile.job_id == job_id)
    if container is not None:
        query = query.where(OutputFile.container == container)
    return list(session.exec(query.order_by(OutputFile.key)))


def output_by_key(session: Session, job_id: int, keys: Sequence[str]) -> dict[str, OutputFile]:
    """Return those outputs of a job that have one of the keys."""
    query = select(OutputFile).where(OutputFile.job_id == job_id, col(OutputFile.key).in_(keys))
    return {row.key: row for row in session.exec(query)}


def transitions(session: Session, job_id: int) -> list[Transition]:
    """Return a job's own history (not that of its containers), oldest first."""
    query = select(Transition).where(
        Transition.job_id == job_id, col(Transition.container).is_(None)
    )
    return list(session.exec(query.order_by(col(Transition.id))))


def container_transitions(session: Session, job_id: int) -> list[Transition]:
    """Return the history of a job's containers, oldest first."""
    query = select(Transition).where(
        Transition.job_id == job_id, col(Transition.container).is_not(None)
    )
    return list(session.exec(query.order_by(col(Transition.id))))


def submissions(session: Session, job_ids: int | Sequence[int]) -> list[Submission]:
    """Return the Slurm submissions of a job or of many, in order."""
    wanted = [job_ids] if isinstance(job_ids, int) else list(job_ids)
    query = select(Submission).where(col(Submission.job_id).in_(wanted))
    return list(session.exec(query.order_by(col(Submission.job_id), col(Submission.number))))


def submissions_in(session: Session, site: str, state: str) -> list[tuple[Submission, Job]]:
    """Return the submissions of a site in that state, with their jobs, oldest first."""
    query = (
        select(Submission, Job)
        .where(Submission.job_id == Job.id, Job.site == site, Submission.state == state)
        .order_by(col(Submission.id))
    )
    return list(session.exec(query))


def unaccounted(session: Session, site: str, since: datetime) -> list[Job]:
    """Return jobs that ended since a time and whose usage is not final yet."""
    query = select(Job).where(
        Job.site == site,
        col(Job.phase).in_(ENDED),
        col(Job.usage_final).is_(False),
        Job.updated >= since,
    )
    return list(session.exec(query.order_by(col(Job.id))))


def uncleaned(session: Session, site: str, failed_before: datetime) -> list[Job]:
    """Return jobs whose work directory still holds their files: complete, canceled, or failed before a time."""
    query = select(Job).where(
        Job.site == site,
        or_(
            col(Job.phase).in_(("complete", "canceled")),
            and_(Job.phase == "error", Job.updated < failed_before),
        ),
        col(Job.cleaned).is_(False),
    )
    return list(session.exec(query.order_by(col(Job.id)).limit(MOST_UNCLEANED)))
