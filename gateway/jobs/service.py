"""What users do with jobs: submit, look, cancel, read logs. Decides who may; the loops do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from sqlmodel import Session

from gateway import wire
from gateway.errors import AppCode, GatewayError
from gateway.jobs import preview, views
from gateway.jobs.admission import Admission, new_job
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.filters import EVERYTHING, Narrow
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.parts import Sharing
from gateway.jobs.states import Phase, phases_of_wire
from gateway.jobs.waits import Wait
from gateway.store import jobs as store
from gateway.store import listing
from gateway.store.db import Database
from gateway.store.submissions import submissions
from gateway.store.tables import Container, Job

_AT_WORK = frozenset(map(str, (Phase.STAGE_IN, Phase.RUN, Phase.STAGE_OUT)))
_MOST_ASKED = (
    100  # containers of one answer whose progress is read: each costs the site a small file
)

Status = TypeVar("Status", bound=wire.JobStatus)


@dataclass(frozen=True)
class LogSlice:
    """A piece of a log: its bytes, the size of the whole so far, and whether the container has ended."""

    data: bytes
    size: int
    final: bool


class LogReader(Protocol):
    """Reads a container's log at its site: (bytes, size of the whole), None when there is none yet."""

    def __call__(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        """Read at most `length` bytes from byte `seek` on."""


class ProgressReader(Protocol):
    """Completes a container that is at work with what its node tells of it: `times`, `progress`."""

    def __call__(self, site: str, job_id: int, container: wire.Container) -> bool:
        """Tell whether the site could be asked."""


class JobService:
    """Jobs as the API offers them.

    `wake(site)` is called when there is something new to do; `trouble(site)` says why a site holds its jobs, if it does;
    `waits(site)` says where jobs stand in its Slurm's queue;
    `scripts(job)` renders the batch scripts of one that is not stored.
    """

    def __init__(
        self,
        database: Database,
        admission: Admission,
        logs: LogReader,
        wake: Callable[[str], None],
        trouble: Callable[[str], str | None] = lambda _: None,
        waits: Callable[[str], Mapping[int, Wait]] = lambda _: {},
        scripts: Callable[[Job], list[str]] = lambda _: [],
        progress: ProgressReader = lambda *_: False,
    ) -> None:
        self._db = database
        self._admission = admission
        self._logs = logs
        self._wake = wake
        self._trouble = trouble
        self._waits = waits
        self._scripts = scripts
        self._progress = progress

    def submit(self, caller: Caller, body: object, key: str | None = None) -> int:
        """Take a job in; returns its id, or that of the job which the same request made that had this key.

        Raises
        ------
        GatewayError
            Whatever rule it breaks first.
        """
        job = self._admission.admit(caller, body, key)
        self._wake(job.site)
        return job.id or 0

    def dry_run(self, caller: Caller, body: object) -> wire.DryRun:
        """Check a request whole and show what the job would be; nothing is stored.

        Raises
        ------
        GatewayError
            As `submit`; SITE_UNAVAILABLE when the site cannot be asked for its limits.
        """
        checked = self._admission.check(caller, body)
        return preview.dry_run(checked, self._scripts(new_job(caller, checked)))

    def list_jobs(
        self,
        caller: Caller,
        *,
        cluster: str | None,
        state: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        user: str | None = None,
        everyone: bool = False,
        narrow: Narrow = EVERYTHING,
    ) -> list[wire.JobPreview]:
        """List the caller's jobs, or those that others share with the caller; an admin may ask for another's or everyone's.

        The last updated come first; with a cursor, the last submitted.
        """
        whose: str | None = caller.user
        if caller.admin and (everyone or user is not None):
            whose = user
        if narrow.shared:
            whose = None
        wanted = listing.Filter(
            user=whose,
            site=cluster,
            phases=None if state is None else [str(phase) for phase in phases_of_wire(state)],
            after=after,
            before=before,
            name=narrow.name,
            labels=narrow.labels,
            image=narrow.image,
            shared_with=_reader(caller) if narrow.shared else None,
        )
        with self._db.read() as session:
            rows = listing.listed(session, wanted, limit, narrow.cursor)
            found = views.previews(session, rows)
        return [self._explained(row, view) for row, view in zip(rows, found, strict=True)]

    def job(self, caller: Caller, job_id: int) -> wire.Job:
        """Return one job."""
        with self._db.read() as session:
            job = self._readable(session, caller, job_id)
            return self._explained(job, views.full(session, job))

    def status(self, caller: Caller, job_id: int) -> wire.JobStatus:
        """Return the state of one job."""
        with self._db.read() as session:
            job = self._readable(session, caller, job_id)
            return self._explained(job, views.status(session, job))

    def _explained(self, job: Job, status: Status) -> Status:
        """Say of a job that has not ended what holds its whole site, else where it stands in Slurm's queue."""
        phase = Phase.of(job.phase)
        trouble = self._trouble(job.site)
        if trouble is not None and not phase.terminal:
            status.reason = f"the site {job.site} does not answer as it should: {trouble}"
        elif not phase.terminal and phase is not Phase.CANCELING:
            wait = self._waits(job.site).get(job.id or 0)
            if wait is not None:
                status.queue_position = wait.position
                status.expected_start = wait.expected_start
        return status

    def exit_codes(self, caller: Caller, job_id: int) -> list[int | None]:
        """Return the exit code of each container, None where there is none."""
        with self._db.read() as session:
            self._readable(session, caller, job_id)
            return [row.exit_code for row in store.containers(session, job_id)]

    def containers(self, caller: Caller, job_id: int) -> list[wire.Container]:
        """Return the containers of a job."""
        with self._db.read() as session:
            site = self._readable(session, caller, job_id).site
            found = views.containers(session, job_id)
        self._ask_nodes(site, job_id, found)
        return found

    def container(self, caller: Caller, job_id: int, number: int) -> wire.Container:
        """Return one container of a job."""
        with self._db.read() as session:
            site = self._readable(session, caller, job_id).site
            found = views.container(session, self._container(session, job_id, number))
        self._ask_nodes(site, job_id, [found])
        return found

    def _ask_nodes(self, site: str, job_id: int, found: Sequence[wire.Container]) -> None:
        """Complete the first few of those that are at work; a site that is away is not asked."""
        if self._trouble(site) is not None:
            return
        at_work = [each for each in found if each.phase in _AT_WORK]
        for container in at_work[:_MOST_ASKED]:
            if not self._progress(site, job_id, container):
                return

    def script(self, caller: Caller, job_id: int) -> list[str]:
        """Return the batch scripts that were submitted for a job."""
        with self._db.read() as session:
            self._readable(session, caller, job_id)
            return [row.script for row in submissions(session, job_id) if row.script is not None]

    def cancel(self, caller: Caller, job_id: int) -> None:
        """Ask for a job's end; asking again is no error, and a job that has ended is INVALID_JOB_STATE."""
        with self._db.write() as session:
            job = self._owned(session, caller, job_id)
            phase = Phase.of(job.phase)
            if phase.terminal and phase is not Phase.CANCELED:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"Job {job_id} has ended already: its state is {phase.wire}.",
                )
            if job.cancel_by is None and not phase.terminal:
                job.cancel_by, job.cancel_time = caller.user, store.now()
                text = f"canceled by {_name(caller, job)}"
                advance_job(session, job, Phase.CANCELING, text)
                for container in store.containers(session, job_id):
                    advance_container(session, container, Phase.CANCELING)
                audit(session, caller, "job.cancel", str(job_id), "ok")
            site = job.site
        self._wake(site)

    def share(self, caller: Caller, job_id: int, sharing: Sharing) -> None:
        """Let these users and groups read a job, and nobody else."""
        with self._db.write() as session:
            self._owned(session, caller, job_id)
            listing.share(session, job_id, sharing.users, sharing.groups)
            names = [f"user {n}" for n in sharing.users] + [f"group {n}" for n in sharing.groups]
            audit(session, caller, "job.share", str(job_id), ", ".join(names) or "nobody")

    def log(
        self,
        caller: Caller,
        job_id: int,
        number: int,
        stream: Literal["stdout", "stderr"],
        seek: int,
        length: int | None,
    ) -> LogSlice:
        """Read a container's log from byte `seek` on.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB, NO_SUCH_SUBJOB, NO_LOGS.
        """
        with self._db.read() as session:
            job = self._readable(session, caller, job_id)
            container = self._container(session, job_id, number)
        if container.skipped is not None:
            raise GatewayError(
                AppCode.NO_LOGS,
                f"{job_id}_{number} was not run, for {container.skipped} had done the same; see: cts logs "
                f"{container.skipped}",
            )
        found = self._logs(job.site, job_id, number, stream, seek, length)
        if found is None:
            raise GatewayError(
                AppCode.NO_LOGS,
                f"There is no {stream} of {job_id}_{number} yet: its phase is {container.phase}.",
            )
        return LogSlice(found[0], found[1], Phase.of(container.phase).terminal)

    @classmethod
    def _owned(cls, session: Session, caller: Caller, job_id: int) -> Job:
        """Return a job that the caller may change: one's own, or any for an admin."""
        job = cls._readable(session, caller, job_id)
        if job.user != caller.user and not caller.admin:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"Job {job_id} is {job.user}'s, who shares it with you to read; only {job.user} may change it.",
            )
        return job

    @staticmethod
    def _readable(session: Session, caller: Caller, job_id: int) -> Job:
        job = store.get(session, job_id) if job_id < 1 << 62 else None
        if job is None or (
            job.user != caller.user
            and not caller.admin
            and not listing.may_read(session, job_id, _reader(caller))
        ):
            raise GatewayError(
                AppCode.NO_SUCH_JOB, f"There is no job {job_id} of yours; list yours with: cts jobs"
            )
        return job

    @staticmethod
    def _container(session: Session, job_id: int, number: int) -> Container:
        row = session.get(Container, (job_id, number))
        if row is None:
            raise GatewayError(
                AppCode.NO_SUCH_SUBJOB,
                f"Job {job_id} has no container {number}; they count from 0.",
            )
        return row


def _reader(caller: Caller) -> listing.Reader:
    return listing.Reader(caller.user, caller.groups)


def _name(caller: Caller, job: Job) -> str:
    """Say who acts on a job, and whether as an admin: on another's."""
    return caller.user if caller.user == job.user else f"admin {caller.user}"
