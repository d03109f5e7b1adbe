"""What admins do with any job: look at all of it, ask Slurm, note things, have it cleaned, have its events sent again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from gateway import wire
from gateway.daemon.site import Site
from gateway.errors import AppCode, GatewayError
from gateway.jobs import views
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.service import JobService
from gateway.jobs.states import Phase, phases_named
from gateway.slurm.protocol import Shown
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.submissions import slurm_name, submissions
from gateway.store.tables import Container, Job, Resend, Transition

MOST_META = 100  # keys
_PATIENCE = 20.0  # seconds for each of the questions to Slurm


class JobAdmin:
    """Jobs as admins have them. Callers are admins: the API has seen to that.

    `wake_events` is called when there is something to send.
    """

    def __init__(
        self,
        database: Database,
        jobs: JobService,
        sites: Mapping[str, Site],
        wake_events: Callable[[], None],
    ) -> None:
        self._db = database
        self._jobs = jobs
        self._sites = sites
        self._wake_events = wake_events

    def job(self, caller: Caller, job_id: int) -> wire.AdminJob:
        """Return a job with its submissions; its token stands nowhere."""
        whole = self._jobs.job(caller, job_id)
        with self._db.read() as session:
            job = self._row(session, job_id)
            rows = submissions(session, job_id)
        site = self._sites.get(job.site)
        return wire.AdminJob(
            **whole.model_dump(),
            submissions=[views.submission(row) for row in rows],
            directory=site.job_dir(job_id) if site is not None else None,
            cancel_time=job.cancel_time,
            usage_final=job.usage_final,
            cleaned=job.cleaned,
            logs_stored=job.logs_stored,
            logs_cleaned=job.logs_cleaned,
        )

    def runner_status(
        self, caller: Caller, job_id: int, container: int | None
    ) -> wire.RunnerStatus:
        """Ask Slurm what it says of a job, or of one of its containers.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB, NO_SUCH_SUBJOB.
        """
        with self._db.read() as session:
            job = self._row(session, job_id)
            rows = submissions(session, job_id)
            ids = [row.slurm_job_id for row in rows if row.slurm_job_id is not None]
            if container is not None:
                ids = self._task(session, job_id, container)
        site = self._sites.get(job.site)
        if site is None:
            gone = f"the site {job.site} is not configured any more"
            shown = Shown(controller_error=gone, accounting_error=gone)
        else:
            shown = site.backend.show(ids, _PATIENCE) if ids else Shown()
        return wire.RunnerStatus(
            cluster=job.site,
            slurm_jobs=ids,
            controller=shown.controller,
            controller_error=shown.controller_error,
            accounting=shown.accounting,
            accounting_error=shown.accounting_error,
        )

    def set_meta(
        self,
        caller: Caller,
        job_id: int,
        set_fields: Mapping[str, Any],
        unset_keys: Sequence[str],
    ) -> None:
        """Change what admins note of a job.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB; MISSING_PARAMETER for nothing to change; ILLEGAL_PARAMETER for a key that is set and unset, or
            for too many.
        """
        if not set_fields and not unset_keys:
            raise GatewayError(
                AppCode.MISSING_PARAMETER, "set_fields, unset_keys: one of them must name a key."
            )
        both = sorted(set(set_fields) & set(unset_keys))
        if both:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"{both[0]}: a key is set or unset, not both; take it out of one of them.",
            )
        with self._db.write() as session:
            job = self._row(session, job_id)
            kept = {k: value for k, value in job.admin_meta.items() if k not in unset_keys}
            found = {**kept, **set_fields}
            if len(found) > MOST_META:
                raise GatewayError(
                    AppCode.ILLEGAL_PARAMETER,
                    f"set_fields: job {job_id} would have {len(found)} keys, and {MOST_META} are allowed; unset some.",
                )
            job.admin_meta = found
            session.add(job)
            what = ", ".join([*sorted(set_fields), *(f"-{key}" for key in unset_keys)])
            audit(session, caller, "job.meta", str(job_id), f"ok: {what}")

    def clean(self, caller: Caller, job_id: int, *, force: bool) -> None:
        """Have a job's directory removed from its site. One that runs is canceled first, where it is forced.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB; INVALID_JOB_STATE for a job that has not ended, unless it is forced.
        """
        with self._db.write() as session:
            job = self._row(session, job_id)
            running = not Phase.of(job.phase).terminal
            if running and not force:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"Job {job_id} has not ended: its state is {Phase.of(job.phase).wire}; wait for its end, or force it, "
                    "which cancels it first.",
                )
            if not job.logs_cleaned:
                job.clean = "forced" if force else job.clean or "asked"
                session.add(job)
            audit(session, caller, "job.clean", str(job_id), "ok: forced" if force else "ok")
            site = self._sites.get(job.site)
        if running:
            self._cancel(caller, job_id)
        if site is not None:
            site.clean_wake.set()

    def _cancel(self, caller: Caller, job_id: int) -> None:
        try:
            self._jobs.cancel(caller, job_id)
        except GatewayError as exc:
            if exc.code is not AppCode.INVALID_JOB_STATE:  # it has ended just then
                raise

    def notify(self, caller: Caller, job_id: int, state: str | None) -> None:
        """Have a transition of a job sent once more to the subscribers that were told of it.

        Parameters
        ----------
        state
            A state of the wire or a phase; None for the last transition.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB; ILLEGAL_PARAMETER; INVALID_JOB_STATE for a state that the job never had.
        """
        phases = phases_named(state) if state is not None else None
        with self._db.write() as session:
            job = self._row(session, job_id)
            query = select(Transition.id).where(
                Transition.job_id == job_id, col(Transition.container).is_(None)
            )
            if phases is not None:
                query = query.where(col(Transition.phase).in_(phases))
            found = session.exec(query.order_by(col(Transition.id).desc()).limit(1)).first()
            if found is None:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"Job {job_id} was never in the state {state}; its state is {Phase.of(job.phase).wire}.",
                )
            session.add(Resend(transition_id=found, by=caller.user, time=store.now()))
            audit(session, caller, "job.notify", str(job_id), f"ok: {state or job.phase}")
        self._wake_events()

    @staticmethod
    def _row(session: Session, job_id: int) -> Job:
        job = store.get(session, job_id) if job_id < 1 << 62 else None
        if job is None:
            raise GatewayError(
                AppCode.NO_SUCH_JOB, f"There is no job {job_id}; list them with: cts admin jobs"
            )
        return job

    @staticmethod
    def _task(session: Session, job_id: int, number: int) -> list[str]:
        row = session.get(Container, (job_id, number))
        if row is None:
            raise GatewayError(
                AppCode.NO_SUCH_SUBJOB,
                f"Job {job_id} has no container {number}; they count from 0.",
            )
        name = slurm_name(row)
        return [] if name is None else [name]
