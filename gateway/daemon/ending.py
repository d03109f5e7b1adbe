"""Ending jobs: cancelling them in Slurm, and giving them their end when their containers have theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from gateway.daemon.judge import describe
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.jobs.history import advance_container, advance_job, follow_containers
from gateway.jobs.states import Phase
from gateway.slurm.protocol import TaskState
from gateway.slurm.states import Meaning, lookup
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.jobs import Active, Going
from gateway.store.submissions import submissions

log = structlog.get_logger()
_CANCEL_AGAIN = 10.0  # seconds; Slurm needs some to end a task, and is not asked at every look


class Ender:
    """Ends the jobs of one site."""

    def __init__(
        self, database: Database, site: Site, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = database
        self._site = site
        self._clock = clock
        self._canceled_at: dict[str, float] = {}

    def never_submitted(self, jobs: Sequence[Active], waiting: Sequence[Going]) -> None:
        """End the containers of canceled jobs that Slurm never got."""
        by = {job.id: job.cancel_by for job in jobs if job.cancel_by is not None}
        here = {c.job_id for c in waiting if c.job_id in by and c.slurm_job_id is None}
        if not here:
            return
        with self._db.write() as session:
            # Of a submission whose outcome is not known yet, Slurm may have them.
            rows = submissions(session, here)
            here -= {row.job_id for row in rows if row.state == "submitting"}
            for submission in rows:
                if submission.state == "prepared" and submission.job_id in here:
                    submission.state = "withdrawn"
                    session.add(submission)
            for row in store.containers(session, here):
                if row.slurm_job_id is None:
                    advance_container(session, row, Phase.CANCELED, f"canceled by {by[row.job_id]}")

    def cancel(
        self,
        jobs: Sequence[Active],
        placed: Sequence[tuple[tuple[str, int], Going]],
        tasks: Mapping[tuple[str, int | None], TaskState],
        why: dict[int, str],
    ) -> bool:
        """Have Slurm end what is left of canceled jobs; tell whether it was asked to. `why` gets what hinders it."""
        canceled = {job.id for job in jobs if job.cancel_by is not None}
        if not (canceled or self._canceled_at):
            return False
        live = {
            key[0]: container.job_id
            for key, container in placed
            if container.job_id in canceled
            and key in tasks
            and lookup(tasks[key].state).meaning is not Meaning.ENDED
        }
        now = self._clock()
        self._canceled_at = {
            number: at
            for number, at in self._canceled_at.items()
            if number in live and at + _CANCEL_AGAIN > now
        }
        due = sorted(live.keys() - self._canceled_at.keys())
        if not due:
            return False
        self._canceled_at |= dict.fromkeys(due, now)
        try:
            self._site.backend.cancel(due)
        except SiteError as exc:
            log.warning("cancel.trouble", slurm_jobs=due[:10], error=str(exc))
            why |= {live[number]: f"Slurm does not cancel it: {exc}" for number in due}
        return True

    def finish(self) -> None:
        """End the jobs whose containers have all ended."""
        with self._db.read() as session:
            over = store.over(session, self._site.name)
        for job_id in over:
            with one_job(job_id, "ending it"):
                self._end(job_id)

    def _end(self, job_id: int) -> None:
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is None or Phase.of(job.phase).terminal:
                return
            outputs = store.verified(session, job_id)
            phase, error = describe(job, store.containers(session, job_id), outputs)
            follow_containers(session, job)
            job.output_file_count, job.error = outputs, error
            advance_job(session, job, phase, error)
        self._site.clean_wake.set()
        self._site.log_wake.set()
        self._site.submit_wake.set()  # others may wait for it
        self._site.skip_wake.set()
        self._site.inputs_wake.set()
        log.info("job.ended", job=job_id, phase=str(phase))
