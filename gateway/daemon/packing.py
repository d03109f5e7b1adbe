"""Planning: which containers of a job go into which Slurm submission, and how many of them share an array task."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlmodel import Session

from gateway.array import parse_array
from gateway.config import Config, SiteSection
from gateway.daemon.site import Site
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.states import Phase
from gateway.slurm.protocol import Limits
from gateway.store import jobs as store
from gateway.store import refdata
from gateway.store.db import Database
from gateway.store.submissions import next_number
from gateway.store.tables import Container, Job, Submission


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


def prepare(config: Config, database: Database, site: Site, job_id: int) -> None:
    """Put the containers of a job that wait into submissions: new ones, and such as are to be run or uploaded again.

    Raises
    ------
    SiteError
        When Slurm does not tell its limits.
    """
    most = most_tasks(site.section, site.limits())
    with database.write() as session:
        job = store.get(session, job_id)
        if job is None or Phase.of(job.phase).terminal or job.cancel_by is not None:
            return
        if refdata.held(session, site.name, job_id):
            return  # it was removed in this moment
        rows = store.containers(session, job_id)
        waiting = {row.index: row for row in rows if row.phase == str(Phase.CREATED)}
        number = next_number(session, job_id)
        for upload_only in (False, True):
            indexes = [n for n, row in waiting.items() if row.upload_only == upload_only]
            for part in plan(indexes, packed(site.section, job), most):
                tag = f"cts:{config.gateway.instance}:{job_id}:{number}:{secrets.token_hex(8)}"
                row = Submission(
                    job_id=job_id,
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
