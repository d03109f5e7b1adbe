"""Inputs that other jobs had yet to write when a job was submitted: looked at, and shared out, once those jobs have ended.

A loop of its own: looking at thousands of inputs takes a while, and holds up neither a request nor other jobs.
"""

from __future__ import annotations

from functools import partial

import structlog

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import GatewayError
from gateway.jobs.history import end_unrun
from gateway.jobs.inputs import Inputs, look, rows
from gateway.jobs.model import parse_job_input
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store import dependencies
from gateway.store import jobs as store
from gateway.store.db import Database

log = structlog.get_logger()
_IDLE = 5.0
_WAITS = "looking at the inputs waits"


class LateInputs:
    """The loop of one site that gives jobs their containers once their inputs are there."""

    def __init__(self, database: Database, objects: ObjectStore, site: Site) -> None:
        self._db = database
        self._objects = objects
        self._site = site

    def tick(self) -> float:
        """Plan the jobs that wait for no other job any more; returns the seconds to wait."""
        with self._db.read() as session:
            due = store.unplanned(session, self._site.name)
            ready = dependencies.ready(session, self._site.name, due)
        for job_id in ready:
            with one_job(job_id, "looking at its inputs", partial(self._tell, job_id)):
                self._plan(job_id)
        return _IDLE

    def _plan(self, job_id: int) -> None:
        with self._db.read() as session:
            job = store.get(session, job_id)
        if job is None:
            return
        asked = parse_job_input(job.job_input)
        wrong: GatewayError | None = None
        inputs: Inputs | None = None
        try:
            inputs = look(asked, self._objects)
        except S3UnavailableError as exc:
            self._tell(job_id, f"{_WAITS}: {exc}")
            raise
        except GatewayError as exc:
            wrong = exc
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is None or Phase.of(job.phase).terminal or job.cancel_by is not None:
                return
            if inputs is None:
                end_unrun(session, job, f"was not run: {str(wrong).rstrip('.')}")
            else:
                session.add_all(rows(job, asked, inputs))
                job.input_file_count, job.input_bytes = len(inputs.found), inputs.size
                job.unplanned, job.reason = False, None
                session.add(job)
        log.info("job.planned", job=job_id, error=None if wrong is None else str(wrong))
        for wake in (self._site.submit_wake, self._site.skip_wake, self._site.poll_wake):
            wake.set()

    def _tell(self, job_id: int, reason: str) -> None:
        with self._db.write() as session:
            store.explain(session, [job_id], reason)
