"""Restarting: an admin has a job in error go on from what is still missing, or its outputs uploaded that were kept.

The only way out of an end. No poll result leads there: containers and jobs that have ended are left alone by every loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlmodel import Session

from gateway.errors import AppCode, GatewayError
from gateway.jobs.again import reopen, run_again, upload_again
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job

_KEPT = ("stage-out-failed", "canceled", "timeout", "agent-failed")


class Restarts:
    """What admins do with jobs in error; `wake(site)` is called when there is something new to do."""

    def __init__(self, database: Database, wake: Callable[[str], None]) -> None:
        self._db = database
        self._wake = wake

    def restart(self, caller: Caller, job_id: int) -> None:
        """Run those containers again that are not complete.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB; INVALID_JOB_STATE for a job that is not in error, or of which nothing is missing.
        """
        with self._db.write() as session:
            job = _in_error(session, job_id)
            missing = [c for c in store.containers(session, job_id) if c.phase != "complete"]
            if not missing and not job.unplanned:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"Nothing of job {job_id} is missing: all of its containers are complete. It ended in error for "
                    f"another reason: {job.error}",
                )
            text = f"restarted by {caller.user}"
            for container in missing:
                run_again(session, container, text)
                container.retried = container.requeued = 0
            self._reopen(session, caller, job, missing, "job.restart", text)
        self._wake(job.site)

    def upload(self, caller: Caller, job_id: int) -> None:
        """Upload the outputs of those containers that exited 0 and whose outputs did not get to S3; none runs again.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB; INVALID_JOB_STATE for a job that is not in error, or of which no outputs are kept.
        """
        with self._db.write() as session:
            job = _in_error(session, job_id)
            kept = [c for c in store.containers(session, job_id) if _has_kept(c)]
            if job.cleaned or not kept:
                why = (
                    "its files at the site were removed some time after its end"
                    if job.cleaned
                    else "none of its containers exited 0 and failed in uploading"
                )
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"No outputs of job {job_id} are kept: {why}. Run again what is missing with: "
                    f"cts admin job restart {job_id}",
                )
            text = f"upload retried by {caller.user}"
            for container in kept:
                upload_again(session, container, text)
            self._reopen(session, caller, job, kept, "job.upload", text)
        self._wake(job.site)

    @staticmethod
    def _reopen(
        session: Session,
        caller: Caller,
        job: Job,
        containers: Sequence[Container],
        action: str,
        text: str,
    ) -> None:
        store.drop_outputs(session, job.id or 0, [c.index for c in containers])
        count = len(containers) or job.num_containers
        reopen(session, job, f"{text}: {count} container{'s' if count > 1 else ''}")
        audit(session, caller, action, str(job.id), "ok")


def _in_error(session: Session, job_id: int) -> Job:
    job = store.get(session, job_id) if job_id < 1 << 62 else None
    if job is None:
        raise GatewayError(AppCode.NO_SUCH_JOB, f"There is no job {job_id}.")
    if job.phase != str(Phase.ERROR):
        raise GatewayError(
            AppCode.INVALID_JOB_STATE,
            f"The state of job {job_id} is {Phase.of(job.phase).wire}; only a job in error is taken up again.",
        )
    if job.job_input.get("staging") is not None:
        raise GatewayError(
            AppCode.INVALID_JOB_STATE,
            f"Job {job_id} stages something for other jobs; have that staged again: cts admin refdata recover, or "
            "cts admin image stage",
        )
    return job


def _has_kept(container: Container) -> bool:
    """Whether it exited 0 and its output directory was kept: its upload failed, or was ended."""
    if container.phase != "error" or container.exit_code != 0:
        return False
    outcome = (container.result or {}).get("outcome")
    return outcome in _KEPT or (outcome is None and container.upload_only)
