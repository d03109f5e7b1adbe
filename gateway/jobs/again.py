"""Going back, the only way there is: containers that are run or uploaded again, and their job with them.

What ended stays ended but for this. `gateway.jobs.history` moves forward alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store.submissions import slurm_name
from gateway.store.tables import Container, Job, Transition


def run_again(session: Session, container: Container, detail: str) -> None:
    """Have a container submitted anew; what became of its last run goes into `earlier`."""
    container.earlier = [
        *container.earlier,
        {
            "attempt": len(container.earlier) + 1,
            "slurm_job_id": slurm_name(container),
            "node": container.node,
            "exit_code": container.exit_code,
            "signal": container.signal,
            "error": container.error,
            "ended": store.now().isoformat(),
        },
    ]
    container.exit_code = container.signal = container.usage = None
    _wait(session, container, detail)
    container.upload_only = False


def upload_again(session: Session, container: Container, detail: str) -> None:
    """Have a container's outputs uploaded anew; it ran well, and does not run again."""
    _wait(session, container, detail)
    container.upload_only = True


def step_back(session: Session, job: Job, phase: Phase, detail: str) -> None:
    """Bring a job back to a phase, or leave it there, with a row of its history that says why."""
    time = max(store.now(), job.updated)
    job.phase, job.updated = str(phase), time
    session.add(job)
    session.add(Transition(job_id=job.id or 0, phase=str(phase), time=time, detail=detail))


def reopen(session: Session, job: Job, detail: str) -> None:
    """Bring a job that has ended back: some of its containers are submitted again."""
    job.error = job.reason = job.cancel_by = job.cancel_time = job.output_file_count = None
    job.usage_final = job.cleaned = job.logs_cleaned = False
    job.logs_stored = job.clean = None
    step_back(session, job, Phase.SUBMITTING, detail)


def summary(containers: Sequence[Container], what: str) -> str:
    """Say in a few words which containers are run again, and why."""
    first = containers[0]
    name = f"container {first.job_id}_{first.index}"
    if len(containers) == 1:
        return f"{name} {what}"
    return f"{len(containers)} containers, the first: {name} {what}"


def _wait(session: Session, container: Container, detail: str) -> None:
    """Bring a container back to where it waits for a submission."""
    container.phase = str(Phase.CREATED)
    container.submission_id = container.task = container.slurm_job_id = None
    container.slurm_state = container.node = container.error = None
    container.result = container.ended = None
    session.add(container)
    session.add(
        Transition(
            job_id=container.job_id,
            container=container.index,
            phase=str(Phase.CREATED),
            time=store.now(),
            detail=detail,
        )
    )
