"""Planning: which containers of a job go into which Slurm submission, and how many of them share an array task."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlmodel import Session

from gateway.array import parse_array
from gateway.config import Config, SiteSection
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.states import Phase
from gateway.slurm.protocol import Limits
from gateway.slurm.submit_limits import SubmitLimits
from gateway.store import jobs as store
from gateway.store import refdata
from gateway.store.db import Database
from gateway.store.submissions import last_numbers
from gateway.store.tables import Container, Job, Submission

_TOGETHER = 100  # jobs that are prepared in one transaction


class Part(NamedTuple):
    """The containers of one submission, and how many of them a task runs side by side."""

    containers: list[int]
    per_task: int


def plan(waiting: Sequence[int], per_task: int, most_tasks: int) -> list[Part]:
    """Cut containers, in order, into submissions of at most `most_tasks` array tasks.

    Tasks are filled evenly: five containers of which four fit are three and two, for all tasks of an array are as large.
    """
    if not waiting:
        return []
    tasks = -(-len(waiting) // per_task)
    each = -(-len(waiting) // tasks)
    size = each * most_tasks
    cut = [list(waiting[start : start + size]) for start in range(0, len(waiting), size)]
    return [Part(some, min(each, len(some))) for some in cut]


def most_tasks(section: SiteSection, limits: Limits) -> int:
    """Return the largest array of a site: Slurm's, or a smaller one that the configuration names."""
    return min(limits.max_array_size, section.max_array_size or limits.max_array_size)


def packed(section: SiteSection, job: Job) -> int:
    """Return how many containers of a job share a task: as many as the site says, and as fit on a node.

    Those that need several nodes, or licenses, which Slurm counts by the task, have a task each; of an array not more share
    one than may run at one time.
    """
    if (job.job_input.get("nodes") or 1) > 1 or job.job_input.get("licenses"):
        return 1
    fitting = min(
        section.cpus_per_node // job.cpus,
        section.memory_per_node // (job.memory + section.overhead_memory),
    )
    if array := job.job_input.get("array"):
        fitting = min(fitting, parse_array(array).at_once or fitting)
    if gpus := job.job_input.get("gpus"):
        fitting = min(fitting, section.gpus_per_node // gpus)
    return max(1, min(section.containers_per_task, fitting))


def prepare(
    config: Config,
    database: Database,
    site: Site,
    job_ids: Sequence[int],
    tell: Callable[[int], Callable[[str], object]],
) -> None:
    """Put the containers of jobs that wait into submissions: new ones, and such as are to be run or uploaded again.

    `tell(job)(why)` is called for one that cannot be for a reason of its own.

    Raises
    ------
    SiteError
        When Slurm does not tell its limits.
    """
    if not job_ids:
        return
    most = most_tasks(site.section, site.limits())
    limits = site.submit_limits()
    for start in range(0, len(job_ids), _TOGETHER):
        part = job_ids[start : start + _TOGETHER]
        _prepare(config, database, site, part, most, limits, tell)


def _prepare(
    config: Config,
    database: Database,
    site: Site,
    job_ids: Sequence[int],
    most: int,
    limits: SubmitLimits,
    tell: Callable[[int], Callable[[str], object]],
) -> None:
    waiting: dict[int, dict[int, Container]] = {number: {} for number in job_ids}
    wrong: list[tuple[int, str]] = []
    with database.write() as session:
        # What was removed since they were found ready.
        held = {each.job_id for each in refdata.held(session, site.name, job_ids)}
        last = last_numbers(session, job_ids)
        for row in store.containers(session, job_ids):
            if row.phase == str(Phase.CREATED):
                waiting[row.job_id][row.index] = row
        for number in job_ids:
            job = store.get(session, number)
            if (
                job is None
                or number in held
                or Phase.of(job.phase).terminal
                or job.cancel_by is not None
            ):
                continue
            note = partial(_note, wrong, number)
            with one_job(number, "preparing its submission", note), session.begin_nested():
                first = last.get(number, -1) + 1
                account, qos = job.account or site.section.account, job.qos or site.section.qos
                fitting = min([most, *limits.of(account, qos).values()])
                _divide(config, site, session, job, waiting[number], first, max(1, fitting))
    for number, why in wrong:
        tell(number)(why)


def _note(wrong: list[tuple[int, str]], number: int, why: str) -> None:
    wrong.append((number, why))


def _divide(
    config: Config,
    site: Site,
    session: Session,
    job: Job,
    waiting: Mapping[int, Container],
    number: int,
    most: int,
) -> None:
    """Make the submissions of a job; `number` is that of the first."""
    for upload_only in (False, True):
        indexes = [n for n, row in waiting.items() if row.upload_only == upload_only]
        for part in plan(indexes, packed(site.section, job), most):
            tag = f"cts:{config.gateway.instance}:{job.id}:{number}:{secrets.token_hex(8)}"
            row = Submission(
                job_id=job.id or 0,
                number=number,
                containers=part.containers,
                per_task=part.per_task,
                upload_only=upload_only,
                tag=tag,
                state="prepared",
                created=store.now(),
            )
            session.add(row)
            session.flush()
            _place(session, row, waiting)
            number += 1
    advance_job(session, job, Phase.SUBMITTING)


def _place(session: Session, submission: Submission, waiting: Mapping[int, Container]) -> None:
    """Write down which submission, and which array task of it, has a container."""
    for position, index in enumerate(submission.containers):
        container = waiting[index]
        container.submission_id = submission.id
        container.task = position // submission.per_task
        advance_container(session, container, Phase.SUBMITTING)
