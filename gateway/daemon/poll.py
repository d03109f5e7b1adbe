"""Polling: one squeue and at most one sacct a tick and site, and what they prove about each container.

No answer, a job missing from squeue, accounting that lags: each is no news. A container ends only when Slurm
says that its task has ended, or, where Slurm has forgotten it and keeps no accounting, when the agent wrote so.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta

import structlog

from gateway.config import Config
from gateway.daemon.accounting import Accounting, Key
from gateway.daemon.loops import one_job
from gateway.daemon.mailbox import read_whole, record_result
from gateway.daemon.settle import Settler, describe
from gateway.daemon.site import Site
from gateway.daemon.usage import record_usage
from gateway.jobs.history import advance_container, advance_job, follow_containers
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.slurm.protocol import TaskRecord, TaskState
from gateway.slurm.states import Meaning, lookup
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job

log = structlog.get_logger()
_IDLE = 30.0
_SOON = 0.1
_LAG = 20.0  # seconds that the accounting is given to show why a container died
_FORGOTTEN = (
    60.0  # seconds that a task may be in neither squeue nor sacct before the agent's word is enough
)
_USAGE_DAYS = 1


class Poller:
    """The poll loop of one site."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, site: Site
    ) -> None:
        self._config = config
        self._db = database
        self._site = site
        self._settler = Settler(database, objects, site)
        self._accounting = Accounting(site.backend)
        self._ended_since: dict[Key, float] = {}
        self._missing_since: dict[Key, float] = {}
        self._why: dict[int, str] = {}  # why jobs wait, as this tick finds it
        self._said: dict[int, str] = {}  # what the last tick said of that
        self._quick = 0

    def tick(self) -> float:
        """Ask Slurm once and act on what it says; returns the seconds to wait."""
        with self._db.read() as session:
            jobs = store.active(session, self._site.name)
            ids = [job.id or 0 for job in jobs]
            waiting = [c for c in store.containers(session, ids) if not Phase.of(c.phase).terminal]
            firsts = {s.id: s.first for s in store.submissions(session, ids)}
            unused = store.unaccounted(
                session, self._site.name, store.now() - timedelta(days=_USAGE_DAYS)
            )
        self._never_submitted(jobs, waiting)
        placed = {self._key(c, firsts): c for c in waiting if c.slurm_job_id is not None}
        if not placed and not unused:
            self._finish(jobs)
            return _IDLE
        tasks = {(t.slurm_job_id, t.task): t for t in self._site.backend.queue()} if placed else {}
        missing = [key for key in placed if key not in tasks]
        records: dict[Key, TaskRecord] = {}
        if unused or missing or self._wants_accounting(placed, tasks):
            records = self._accounting.records([*jobs, *unused])
        self._cancel(jobs, placed, tasks)
        unsettled = 0
        for key, container in placed.items():
            with one_job(container.job_id, "judging a container"):
                unsettled += self._judge(key, container, tasks.get(key), records.get(key))
        self._forget(placed)
        self._explain(jobs)
        self._finish(jobs)
        record_usage(self._db, self._site.name, unused, records)
        return self._wait(placed, tasks, unsettled, len(unused))

    @staticmethod
    def _key(container: Container, firsts: dict[int | None, int]) -> Key:
        return str(container.slurm_job_id), container.index - firsts.get(container.submission_id, 0)

    @staticmethod
    def _wants_accounting(placed: dict[Key, Container], tasks: dict[Key, TaskState]) -> bool:
        """Whether a container ended in a way that only the accounting explains."""
        return any(
            key in tasks
            and lookup(tasks[key].state).meaning is Meaning.ENDED
            and (container.result or {}).get("outcome") != "ok"
            for key, container in placed.items()
        )

    def _judge(
        self, key: Key, container: Container, task: TaskState | None, record: TaskRecord | None
    ) -> int:
        """Act on the news of one container; 1 when it has ended in Slurm but cannot be settled yet."""
        state = self._state(task, record) or self._forgotten(key, container)
        if not state or lookup(state).meaning is not Meaning.ENDED:
            self._ended_since.pop(key, None)
            self._note(key, container, task)
            return 0
        if container.result is None or container.result.get("slurm_job_id") is None:
            container = self._fetch_result(container)
        waited = time.monotonic() - self._ended_since.setdefault(key, time.monotonic())
        outcome = (container.result or {}).get("outcome")
        explained = record is not None and record.end is not None and bool(record.steps)
        lost = container.result is None and state.startswith("COMPLETED")
        unexplained = lost or (outcome not in ("ok", "timeout") and not explained)
        if unexplained and waited < _LAG and container.phase != str(Phase.CANCELING):
            return 1
        try:
            self._settler.settle(container, state, record)
        except S3UnavailableError as exc:
            self._why[container.job_id] = f"verifying the outputs waits: {exc.message}"
            return 1
        return 0

    @staticmethod
    def _state(task: TaskState | None, record: TaskRecord | None) -> str:
        """Return what Slurm says now: squeue's word, or the accounting's where that says more (who cancelled)."""
        if task is None:
            return record.state if record is not None else ""
        if record is not None and record.state.startswith(f"{task.state} "):
            return record.state
        return task.state

    def _forgotten(self, key: Key, container: Container) -> str:
        """Return the state of a task that Slurm knows no more, from the agent's result; empty while that is too early."""
        since = self._missing_since.setdefault(key, time.monotonic())
        if time.monotonic() - since < _FORGOTTEN:
            return ""
        result = (container.result or self._fetch_result(container).result) or {}
        if result.get("outcome") is None:
            return ""
        return "COMPLETED" if result["outcome"] == "ok" else "FAILED"

    def _forget(self, placed: dict[Key, Container]) -> None:
        for known in (self._ended_since, self._missing_since):
            for key in known.keys() - placed.keys():
                del known[key]

    def _fetch_result(self, container: Container) -> Container:
        path = f"{self._site.container_dir(container.job_id, container.index)}/result.json"
        data = read_whole(self._site, path)
        if data is not None:
            record_result(self._db, container.job_id, container.index, data)
        with self._db.read() as session:
            return session.get(Container, (container.job_id, container.index)) or container

    def _note(self, key: Key, container: Container, task: TaskState | None) -> None:
        """Keep Slurm's state and node where they are new, and why the container waits."""
        if task is None:
            why = "not in squeue, and the accounting shows no end yet"
            self._why.setdefault(container.job_id, why)
            return
        self._missing_since.pop(key, None)
        waits = lookup(task.state).meaning is Meaning.WAITING
        if waits and (why_ := _why_waiting(container, task)) is not None:
            self._why.setdefault(container.job_id, why_)
        if container.slurm_state == task.state:
            return
        with self._db.write() as session:
            row = session.get(Container, (container.job_id, container.index))
            job = store.get(session, container.job_id)
            if row is None or job is None:
                return
            row.slurm_state = task.state
            if task.node and not task.node.startswith("("):
                row.node = task.node
            if waits:
                # A requeued task begins anew: what its first run said is no news of the next.
                row.result, row.exit_code, row.signal = None, None, None
            session.add(row)
            if not waits and Phase.of(row.phase) is Phase.PENDING:
                advance_container(session, row, Phase.STAGE_IN)
                session.flush()
                if job.cancel_by is None:
                    follow_containers(session, job, store.containers(session, container.job_id))

    def _explain(self, jobs: list[Job]) -> None:
        """Keep why jobs wait, and take back what no longer holds."""
        for job in jobs:
            number = job.id or 0
            wanted, said = self._why.get(number), self._said.get(number)
            if wanted == job.reason or (wanted is None and (said is None or said != job.reason)):
                continue
            with self._db.write() as session:
                row = store.get(session, number)
                if row is not None and not Phase.of(row.phase).terminal:
                    row.reason = wanted
                    session.add(row)
        self._said, self._why = self._why, {}

    def _never_submitted(self, jobs: list[Job], waiting: list[Container]) -> None:
        """End the containers of canceled jobs that Slurm never got."""
        canceled = {job.id: job for job in jobs if job.cancel_by is not None}
        if not canceled:
            return
        with self._db.read() as session:
            open_jobs = {
                s.job_id
                for s in store.submissions(session, [i or 0 for i in canceled])
                if s.state == "submitting"
            }
        for container in waiting:
            job = canceled.get(container.job_id)
            if (
                job is not None
                and container.slurm_job_id is None
                and container.job_id not in open_jobs
            ):
                with self._db.write() as session:
                    row = session.get(Container, (container.job_id, container.index))
                    if row is not None and row.slurm_job_id is None:
                        advance_container(
                            session, row, Phase.CANCELED, f"canceled by {job.cancel_by}"
                        )

    def _cancel(
        self, jobs: list[Job], placed: dict[Key, Container], tasks: dict[Key, TaskState]
    ) -> None:
        canceled = {job.id for job in jobs if job.cancel_by is not None}
        live = {
            key[0]
            for key, container in placed.items()
            if container.job_id in canceled
            and key in tasks
            and lookup(tasks[key].state).meaning is not Meaning.ENDED
        }
        if live:
            self._site.backend.cancel(sorted(live))
            self._quick = 0

    def _finish(self, jobs: list[Job]) -> None:
        """End the jobs whose containers have all ended."""
        for job in jobs:
            with one_job(job.id or 0, "ending it"):
                with self._db.read() as session:
                    containers = store.containers(session, job.id or 0)
                if containers and all(Phase.of(c.phase).terminal for c in containers):
                    self._end(job.id or 0)

    def _end(self, job_id: int) -> None:
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is None or Phase.of(job.phase).terminal:
                return
            containers = store.containers(session, job_id)
            outputs = [row for row in store.outputs(session, job_id) if row.verified]
            phase, error = describe(job, containers, len(outputs))
            follow_containers(session, job, containers)
            job.output_file_count, job.error = len(outputs), error
            advance_job(session, job, phase, error)
        self._site.clean_wake.set()
        log.info("job.ended", job=job_id, phase=str(phase))

    def _wait(
        self, placed: dict[Key, Container], tasks: dict[Key, TaskState], unsettled: int, unused: int
    ) -> float:
        """Poll again soon while something is ending, else after the site's period (with jitter)."""
        ending = unsettled or any(
            container.phase in ("settling", "canceling")
            or self._ended_since.get(key) is not None
            or (key in tasks and tasks[key].state == "COMPLETING")
            for key, container in placed.items()
        )
        period = self._site.section.poll_seconds
        if ending:
            self._quick = min(self._quick + 1, 12)
            return min(period, _SOON * 1.3**self._quick)
        self._quick = 0
        if not placed:
            return min(period, 2.0) if unused else _IDLE
        return period * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


def _why_waiting(container: Container, task: TaskState) -> str | None:
    reason = task.reason if task.reason not in ("", "None") else None
    if Phase.of(container.phase).rank > Phase.PENDING.rank:
        why = f"{task.state}: {reason}" if reason else task.state
        return f"container {container.job_id}_{container.index} was requeued by Slurm ({why})"
    return f"{task.state}: {reason}" if reason else None
