"""Changing the phase of a job or a container: forward only, each change a row of the history."""

from __future__ import annotations

from sqlmodel import Session

from gateway.jobs.states import Phase, may_follow
from gateway.store import jobs as store
from gateway.store.tables import Container, Job, Transition


def advance_job(session: Session, job: Job, phase: Phase, detail: str | None = None) -> bool:
    """Move a job to a later phase; tell whether it moved (never backwards, never out of an end)."""
    if not may_follow(Phase.of(job.phase), phase):
        return False
    time = max(store.now(), job.updated)  # a clock that is set back does not turn the history round
    job.phase, job.updated = str(phase), time
    if phase.terminal:
        job.reason = None
    session.add(job)
    session.add(Transition(job_id=job.id or 0, phase=str(phase), time=time, detail=detail))
    return True


def end_unrun(session: Session, job: Job, message: str) -> None:
    """End a job in error of which Slurm never got anything; `message` follows "container 12_0" and "The job" in sentences."""
    for container in store.containers(session, job.id or 0):
        if advance_container(session, container, Phase.ERROR, message):
            container.error = message
    error = f"The job {message}."
    job.output_file_count, job.error = 0, error
    advance_job(session, job, Phase.ERROR, error)


def advance_container(
    session: Session, container: Container, phase: Phase, detail: str | None = None
) -> bool:
    """Move a container to a later phase; tell whether it moved."""
    if not may_follow(Phase.of(container.phase), phase):
        return False
    time = store.now()
    container.phase = str(phase)
    if phase.terminal:
        container.ended = time
    session.add(container)
    session.add(
        Transition(
            job_id=container.job_id,
            container=container.index,
            phase=str(phase),
            time=time,
            detail=detail,
        )
    )
    return True


def follow_containers(session: Session, job: Job) -> None:
    """Move a job that has not ended to where its containers are."""
    number = job.id or 0
    phases = {Phase.of(name) for name in store.counts(session, number).get(number, {})}
    going = {phase.rank for phase in phases if not phase.terminal}
    if not going:
        target = Phase.FAILING if Phase.ERROR in phases else Phase.SETTLING
    elif min(going) >= Phase.SETTLING.rank:
        target = Phase.SETTLING
    elif min(going) >= Phase.STAGE_OUT.rank:
        target = Phase.STAGE_OUT
    elif max(going) >= Phase.RUN.rank:
        target = Phase.RUN
    elif max(going) >= Phase.STAGE_IN.rank:
        target = Phase.STAGE_IN
    elif min(going) >= Phase.PENDING.rank:
        target = Phase.PENDING
    else:
        return
    advance_job(session, job, target)
