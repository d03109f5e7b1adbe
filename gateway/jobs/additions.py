"""What a job has beside its containers and files: its labels, who else may read it, which jobs it waits for."""

from __future__ import annotations

from sqlmodel import Session

from gateway.errors import AppCode, GatewayError
from gateway.jobs.model import Condition, JobInput
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store import listing
from gateway.store.tables import Job, JobDependency, JobLabel


def keep_additions(session: Session, job: Job, asked: JobInput) -> None:
    """Store them, in the transaction that stores the job.

    Raises
    ------
    GatewayError
        Where a job that it depends on is none of the user's, or can complete no more.
    """
    job_id = job.id or 0
    check_dependencies(session, job.user, asked)
    for each in dict.fromkeys(asked.depends_on or ()):
        session.add(
            JobDependency(job_id=job_id, on_job_id=int(each.job_id), condition=str(each.condition))
        )
    for key, value in (asked.labels or {}).items():
        session.add(JobLabel(job_id=job_id, key=key, user=job.user, value=value))
    if asked.share_with is not None:
        listing.share(session, job_id, asked.share_with.users, asked.share_with.groups)


def check_dependencies(session: Session, user: str, asked: JobInput) -> None:
    """See that a job may wait for those that it names.

    Raises
    ------
    GatewayError
        NO_SUCH_JOB for one that is not the user's, INVALID_JOB_STATE for one that had to complete and has ended otherwise.
    """
    for index, each in enumerate(asked.depends_on or ()):
        job = store.get(session, int(each.job_id))
        if job is None or job.user != user:
            raise GatewayError(
                AppCode.NO_SUCH_JOB,
                f"depends_on[{index}]: There is no job {each.job_id} of yours; list yours with: cts jobs",
            )
        phase = Phase.of(job.phase)
        if each.condition is Condition.AFTEROK and phase.terminal and phase is not Phase.COMPLETE:
            raise GatewayError(
                AppCode.INVALID_JOB_STATE,
                f"depends_on[{index}]: Job {each.job_id} can complete no more: its state is {phase.wire}; leave it out, or "
                "use afterany.",
            )
