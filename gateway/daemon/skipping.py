"""Skipping containers that were done before: those of jobs that ask for it are not run where their outputs are all there.

A loop of its own: looking at thousands of outputs takes a while, and holds up neither the request nor other jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlmodel import Session

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import GatewayError
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store import dependencies, skipping
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.skipping import Key
from gateway.store.tables import Container, Job, OutputFile

log = structlog.get_logger()
_IDLE = 5.0
_THREADS = 16
_WAITS = "looking for containers that were done before waits"


class Skipper:
    """The skip loop of one site."""

    def __init__(self, database: Database, objects: ObjectStore, site: Site) -> None:
        self._db = database
        self._objects = objects
        self._site = site
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="skip")

    def tick(self) -> float:
        """Look for what the new jobs ask for that was done before; returns the seconds to wait.

        Of a job that waits for others, once these have ended: what it asks for may be what they do.
        """
        with self._db.read() as session:
            due = skipping.unchecked(session, self._site.name)
            ready = dependencies.ready(session, self._site.name, due)
        for job_id in ready:
            with one_job(job_id, "looking for containers that were done before"):
                self._check(job_id)
        return _IDLE

    def _check(self, job_id: int) -> None:
        with self._db.read() as session:
            done = skipping.done_before(session, job_id)
            outputs = skipping.outputs_by_container(session, set(done.values()))
        try:
            there = self._there(outputs)
        except S3UnavailableError as exc:
            with self._db.write() as session:
                store.explain(session, [job_id], f"{_WAITS}: {exc}")
            raise
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is None or job.phase != str(Phase.CREATED) or job.cancel_by is not None:
                return
            skipped = _skip(
                session, job, {n: key for n, key in done.items() if key in there}, outputs
            )
            if skipped == job.num_containers:
                follow_containers(session, job)  # on to its end: there is nothing to submit
            job.skip_check, job.reason = False, None
            session.add(job)
        if skipped:
            log.info("job.skipped", job=job_id, containers=skipped)
        self._site.submit_wake.set()
        self._site.poll_wake.set()

    def _there(self, outputs: Mapping[Key, Sequence[OutputFile]]) -> set[Key]:
        """Return the containers whose outputs are all in S3 as they were recorded."""
        rows = [row for some in outputs.values() for row in some]
        bad = {
            (row.job_id, row.container)
            for row, same in zip(rows, self._pool.map(self._same, rows), strict=True)
            if not same
        }
        return outputs.keys() - bad

    def _same(self, row: OutputFile) -> bool:
        try:
            head = self._objects.inspect(row.bucket, row.key)
        except S3UnavailableError:
            raise
        except GatewayError:  # gone, or not to be seen: then it is made again
            return False
        return head.size == row.size and head.etag == row.etag


def _skip(
    session: Session,
    job: Job,
    done: Mapping[int, Key],
    outputs: Mapping[Key, Iterable[OutputFile]],
) -> int:
    """Take containers for complete, with the outputs of those that did the same; returns how many."""
    count = 0
    keys: set[str] = set()
    for row in store.containers(session, job.id or 0):
        if row.index not in done:
            continue
        other = done[row.index]
        mine = {each.key for each in outputs[other]}
        by = f"{other[0]}_{other[1]}"
        if mine & keys or not advance_container(
            session, row, Phase.COMPLETE, f"skipped: done by {by}"
        ):
            continue
        keys |= mine
        row.exit_code, row.skipped = 0, by
        session.add_all(_copy(row, each) for each in outputs[other])
        count += 1
    return count


def _copy(container: Container, output: OutputFile) -> OutputFile:
    fields = output.model_dump(exclude={"id", "job_id", "container"})
    return OutputFile(job_id=container.job_id, container=container.index, **fields)
