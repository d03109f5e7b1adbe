"""Queries on jobs, containers and their files.

Of a set wherever a caller has one: what costs a statement for one job costs one for all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam
from sqlalchemy import select as sa_select
from sqlalchemy.orm import defer
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import Session, and_, col, delete, exists, func, or_, select, update

from gateway.store.tables import Container, InputFile, Job, OutputFile, Submission, Transition

ENDED = ("complete", "error", "canceled")
MOST_UNCLEANED = 100
_MOST_VALUES = 10_000  # in one statement; SQLite takes 32,766

# Up to a megabyte each, and not wanted by the loops: to read them there is an error, not a query.
SMALL_JOB = [defer(field, raiseload=True) for field in (Job.job_input, Job.image)]  # type: ignore[arg-type]
SMALL_CONTAINER: list[ORMOption] = [
    defer(field, raiseload=True)  # type: ignore[arg-type]
    for field in (Container.args, Container.environment, Container.generated)
]


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def get(session: Session, job_id: int) -> Job | None:
    """Return a job."""
    return session.get(Job, job_id)


@dataclass(slots=True)
class Active:
    """As much of a job that has not ended as a look at Slurm needs: thousands of them are read at each."""

    id: int
    created: datetime
    reason: str | None
    cancel_by: str | None


@dataclass(slots=True)
class Going:
    """As much of a container that has not ended as a look at Slurm needs."""

    job_id: int
    index: int
    phase: str
    submission_id: int | None
    slurm_job_id: str | None
    task: int | None
    slurm_state: str | None
    requeued: int


def active(session: Session, site: str) -> list[Active]:
    """Return the jobs of a site that have not ended, oldest first."""
    columns = col(Job.id), col(Job.created), col(Job.reason), col(Job.cancel_by)
    query = sa_select(*columns).where(*_open(site)).order_by(col(Job.id))
    return [Active(*row) for row in session.execute(query)]


def some(session: Session, job_ids: Iterable[int]) -> dict[int, Job]:
    """Return jobs by id, without `job_input` and `image`."""
    query = select(Job).where(among(col(Job.id), job_ids)).options(*SMALL_JOB)
    return {job.id or 0: job for job in session.exec(query)}


def any_active(session: Session, site: str) -> bool:
    """Whether a site has jobs that have not ended."""
    return session.exec(select(Job.id).where(*_open(site)).limit(1)).first() is not None


def over(session: Session, site: str) -> list[int]:
    """Return the ids of the jobs of a site that have not ended, but whose containers all have.

    Also of those that are canceled before they have containers.
    """
    there = select(Container.index).where(Container.job_id == Job.id)
    going = there.where(col(Container.phase).not_in(ENDED))
    none = and_(col(Job.unplanned), col(Job.cancel_by).is_not(None))
    query = select(Job.id).where(*_open(site), or_(exists(there), none), ~exists(going))
    return [number or 0 for number in session.exec(query.order_by(col(Job.id)))]


def unplanned(session: Session, site: str) -> list[int]:
    """Return the jobs of a site that have no containers yet and are not canceled, oldest first."""
    query = select(Job.id).where(*_open(site), col(Job.unplanned), col(Job.cancel_by).is_(None))
    return [number or 0 for number in session.exec(query.order_by(col(Job.id)))]


def explain(session: Session, job_ids: Iterable[int], reason: str | None) -> None:
    """Say of jobs that have not ended why they wait."""
    session.exec(
        update(Job)
        .where(among(col(Job.id), job_ids), col(Job.phase).not_in(ENDED))
        .values(reason=reason)
    )


def held_back(session: Session, site: str, reason: str) -> list[int]:
    """Return the jobs of a site that Slurm has not got yet, whole or in part, and that give another reason for that."""
    waiting = exists(
        select(Container.index).where(Container.job_id == Job.id, Container.phase == "created")
    )
    prepared = exists(
        select(Submission.id).where(Submission.job_id == Job.id, Submission.state == "prepared")
    )
    query = select(Job.id).where(
        *_open(site),
        or_(waiting, prepared),
        col(Job.cancel_by).is_(None),
        col(Job.reason).is_distinct_from(reason),
    )
    return [number or 0 for number in session.exec(query)]


def waiting(session: Session, site: str) -> list[Going]:
    """Return the containers of a site that have not ended, by job and number."""
    columns = [col(getattr(Container, name)) for name in Going.__slots__]
    query = (
        sa_select(*columns)
        .join(Job, col(Job.id) == Container.job_id)
        .where(*_open(site), col(Container.phase).not_in(ENDED))
    )
    rows = session.execute(query.order_by(col(Container.job_id), col(Container.index)))
    return [Going(*row) for row in rows]


def these(session: Session, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], Container]:
    """Return containers by job and number, as `containers` does."""
    query = select(Container).where(*near(col(Container.job_id), col(Container.index), keys))
    rows = session.exec(query.options(*SMALL_CONTAINER))
    return {key: row for row in rows if (key := (row.job_id, row.index)) in keys}


def containers(session: Session, job_ids: int | Iterable[int]) -> list[Container]:
    """Return the containers of a job, or of many, by job and number, without their `args`, `environment` and `generated`."""
    query = select(Container).where(among(col(Container.job_id), job_ids))
    query = query.options(*SMALL_CONTAINER)
    return list(session.exec(query.order_by(col(Container.job_id), col(Container.index))))


def counts(session: Session, job_ids: int | Iterable[int]) -> dict[int, dict[str, int]]:
    """Return how many containers are in each phase, by job."""
    query = (
        select(Container.job_id, Container.phase, func.count())
        .where(among(col(Container.job_id), job_ids))
        .group_by(col(Container.job_id), col(Container.phase))
    )
    found: dict[int, dict[str, int]] = {}
    for job_id, phase, count in session.exec(query):
        found.setdefault(job_id, {})[phase] = count
    return found


def inputs(session: Session, job_id: int, container: int | None = None) -> list[InputFile]:
    """Return the inputs of a job, or of one container, in order; those that all containers get come last."""
    query = select(InputFile).where(InputFile.job_id == job_id)
    shared = col(InputFile.container).is_(None)
    if container is not None:
        query = query.where(or_(InputFile.container == container, shared))
    return list(session.exec(query.order_by(shared, col(InputFile.position))))


def outputs(session: Session, job_id: int, container: int | None = None) -> list[OutputFile]:
    """Return the outputs of a job, or of one container, by key."""
    query = select(OutputFile).where(OutputFile.job_id == job_id)
    if container is not None:
        query = query.where(OutputFile.container == container)
    return list(session.exec(query.order_by(OutputFile.key)))


def outputs_of(session: Session, keys: Collection[tuple[int, int]]) -> list[OutputFile]:
    """Return the outputs of many containers (job, number), by key."""
    query = select(OutputFile).where(*near(col(OutputFile.job_id), col(OutputFile.container), keys))
    rows = session.exec(query.order_by(OutputFile.key))
    return [row for row in rows if (row.job_id, row.container) in keys]


def verified(session: Session, job_id: int) -> int:
    """Return how many outputs of a job were seen in S3."""
    query = select(func.count()).where(OutputFile.job_id == job_id, col(OutputFile.verified))
    return session.exec(query).one()


def drop_outputs(session: Session, job_id: int, indexes: Collection[int]) -> None:
    """Forget the outputs of containers that are run again: what an earlier run wrote is none of the job's any more."""
    session.exec(
        delete(OutputFile).where(
            col(OutputFile.job_id) == job_id, among(col(OutputFile.container), indexes)
        )
    )


def output_by_key(session: Session, job_id: int, keys: Sequence[str]) -> dict[str, OutputFile]:
    """Return those outputs of a job that have one of the keys."""
    found: dict[str, OutputFile] = {}
    for start in range(0, len(keys), _MOST_VALUES):
        some = col(OutputFile.key).in_(keys[start : start + _MOST_VALUES])
        rows = session.exec(select(OutputFile).where(OutputFile.job_id == job_id, some))
        found |= {row.key: row for row in rows}
    return found


def file_sums(
    session: Session, table: type[InputFile | OutputFile], job_ids: Iterable[int]
) -> dict[tuple[int, int | None], tuple[int, int]]:
    """Return number and bytes of the inputs, or of the outputs seen in S3, by job and container (None: of each one)."""
    query = select(table.job_id, table.container, func.count(), func.sum(table.size)).where(
        among(col(table.job_id), job_ids)
    )
    if table is OutputFile:
        query = query.where(col(OutputFile.verified))
    rows = session.exec(query.group_by(col(table.job_id), col(table.container)))
    return {(row[0], row[1]): (row[2], int(row[3])) for row in rows}


def transitions(session: Session, job_ids: int | Iterable[int]) -> list[Transition]:
    """Return the own history of a job or of many (not that of their containers), oldest first."""
    query = select(Transition).where(
        among(col(Transition.job_id), job_ids), col(Transition.container).is_(None)
    )
    return list(session.exec(query.order_by(col(Transition.id))))


def unaccounted(session: Session, site: str, since: datetime) -> list[Job]:
    """Return jobs that ended since a time and whose usage is not final yet, as `active` gives them."""
    query = select(Job).where(
        Job.site == site,
        col(Job.phase).in_(ENDED),
        col(Job.usage_final).is_(False),
        Job.updated >= since,
    )
    return list(session.exec(query.options(*SMALL_JOB).order_by(col(Job.id))))


def uncleaned(session: Session, site: str, failed_before: datetime, after: int = 0) -> list[Job]:
    """Return jobs, later than `after`, whose work directory is to be cleaned: complete, canceled, or failed before a time."""
    query = select(Job).where(
        Job.site == site,
        or_(
            col(Job.phase).in_(("complete", "canceled")),
            and_(Job.phase == "error", Job.updated < failed_before),
        ),
        col(Job.cleaned).is_(False),
        col(Job.id) > after,
    )
    query = query.options(*SMALL_JOB).order_by(col(Job.id)).limit(MOST_UNCLEANED)
    return list(session.exec(query))


def among(column: Any, ids: int | Iterable[int]) -> ColumnElement[bool]:
    """Compare with any number of ids: they are written into the statement, as SQLite has a bound on parameters."""
    wanted = [ids] if isinstance(ids, int) else list(ids)
    values = bindparam("ids", wanted, BigInteger, unique=True, expanding=True, literal_execute=True)
    found: ColumnElement[bool] = column.in_(values)
    return found


def near(
    job: Any, number: Any, keys: Collection[tuple[int, int]]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Compare two columns with keys (job, container) so that an index serves; what is no key may come as well.

    SQLite goes through the whole table for pairs of values.
    """
    return (
        among(job, {job_id for job_id, _ in keys}),
        among(number, {index for _, index in keys}),
    )


def _open(site: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Job.site) == site, col(Job.phase).not_in(ENDED)
