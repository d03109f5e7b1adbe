"""Polling: one squeue and at most one sacct a tick and site, and what they prove about each container.

No answer, a job missing from squeue, accounting that lags: each is no news. A container ends only when Slurm
says that its task has ended, or, where Slurm has forgotten it and the accounting shows no end, when the agent wrote so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby

from gateway.daemon.accounting import Accounting
from gateway.daemon.ending import Ender
from gateway.daemon.loops import one_job
from gateway.daemon.result import Found, keep_results, read_result
from gateway.daemon.settle import Ended, Settler
from gateway.daemon.site import Site
from gateway.daemon.usage import record_usage
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.jobs.waits import in_queue
from gateway.s3.client import ObjectStore
from gateway.slurm.protocol import TaskRecord, TaskState
from gateway.slurm.reasons import explain
from gateway.slurm.states import Meaning, lookup
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.jobs import Active, Going
from gateway.store.submissions import Place, places
from gateway.store.tables import Container

_IDLE = 30.0
_SOON = 0.1
_LAG = 20.0  # seconds that the accounting, or a file system, is given to show why a container died
_FORGOTTEN = (
    60.0  # seconds that a task may be in neither squeue nor sacct before the agent's word is enough
)
_USAGE_DAYS = 1

Key = tuple[str, int]  # Slurm's job and array task, which several containers may share
Placed = Sequence[tuple[Key, Going]]
Mark = tuple[str, int]  # a run of a container: Slurm's job and the container's number


class Poller:
    """The poll loop of one site."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
        on_end: Callable[[Container], object] = lambda _: None,
    ) -> None:
        self._db = database
        self._site = site
        self._clock = clock
        self._settler = Settler(
            database, objects, clock, site.submit_wake.set, site.section.max_requeues, on_end
        )
        self._ender = Ender(database, site, clock)
        self._accounting = Accounting(site, clock)
        self._ended_since: dict[Mark, float] = {}
        self._missing_since: dict[Mark, float] = {}
        self._places: dict[int | None, Place] = {}  # of the submissions of this tick
        self._results: dict[tuple[int, int], Found] = {}  # those that this tick has read
        self._why: dict[int, str] = {}  # why jobs wait, as this tick finds it
        self._said: dict[int, str] = {}  # what the last tick said of that
        self._quick = 0

    def tick(self) -> float:
        """Ask Slurm once and act on what it says; returns the seconds to wait."""
        self._why = {}
        since = store.now() - timedelta(days=_USAGE_DAYS)
        with self._db.read() as session:
            jobs = store.active(session, self._site.name)
            waiting = store.waiting(session, self._site.name)
            unused = store.unaccounted(session, self._site.name, since)
        self._ender.never_submitted(jobs, waiting)
        self._ender.finish()
        placed = [((c.slurm_job_id, c.task or 0), c) for c in waiting if c.slurm_job_id is not None]
        if not placed:
            self._site.waits = {}
            if not unused:
                return _IDLE
        tasks = {(t.slurm_job_id, t.task): t for t in self._site.backend.queue()} if placed else {}
        changed = self._changed(placed, tasks)
        records: dict[tuple[str, int | None], TaskRecord] | None = None
        if unused or self._wants_accounting(changed, tasks):
            created = [*(job.created for job in jobs), *(job.created for job in unused)]
            records = self._accounting.records(created)
        if self._ender.cancel(jobs, placed, tasks, self._why):
            self._quick = 0
        self._site.waits = in_queue(
            (container.job_id, tasks[key])
            for key, container in placed
            if key in tasks and lookup(tasks[key].state).meaning is Meaning.WAITING
        )
        self._act(changed, tasks, records or {})
        self._explain(jobs)
        self._ender.finish()
        self._forget(placed)
        if records is not None:
            record_usage(self._db, unused, records)
        return self._wait(placed, tasks, bool(unused) and self._accounting.kept)

    def _changed(
        self, placed: Placed, tasks: Mapping[tuple[str, int | None], TaskState]
    ) -> Sequence[tuple[Key, Container]]:
        """Return, whole, the containers of which Slurm says something else than at the last look, an end, or nothing.

        Of those that still wait it is noted why.
        """
        changed: dict[tuple[int, int], Key] = {}
        for key, going in placed:
            task = tasks.get(key)
            meaning = Meaning.ENDED if task is None else lookup(task.state).meaning
            often = going.requeued > self._site.section.max_requeues
            if task is None or meaning is Meaning.ENDED or often or task.state != going.slurm_state:
                changed[going.job_id, going.index] = key
                continue
            if self._ended_since or self._missing_since:
                self._ended_since.pop(_mark(going), None)
                self._missing_since.pop(_mark(going), None)
            if meaning is Meaning.WAITING and going.job_id not in self._why:
                self._note_wait(going, task)
        if not changed:
            return []
        with self._db.read() as session:
            rows = store.these(session, changed)
            self._places = places(session, {job_id for job_id, _ in changed})
        return [
            (key, row)
            for number, key in changed.items()
            if (row := rows.get(number)) is not None
            and (row.slurm_job_id, row.task or 0) == key  # it was not run again in this moment
            and not Phase.of(row.phase).terminal
        ]

    @staticmethod
    def _wants_accounting(
        changed: Sequence[tuple[Key, Container]], tasks: Mapping[tuple[str, int | None], TaskState]
    ) -> bool:
        """Whether a container is not in squeue, or ended in a way that only the accounting explains."""
        return any(
            key not in tasks
            or (lookup(tasks[key].state).meaning is Meaning.ENDED and _outcome(container) != "ok")
            for key, container in changed
        )

    def _act(
        self,
        changed: Sequence[tuple[Key, Container]],
        tasks: Mapping[tuple[str, int | None], TaskState],
        records: Mapping[tuple[str, int | None], TaskRecord],
    ) -> None:
        """Act on the news of containers: keep what is new of those that go on, settle those that have ended."""
        ended: list[Ended] = []
        news: list[tuple[Container, TaskState]] = []
        for key, container in changed:
            task, record, number = tasks.get(key), records.get(key), container.job_id
            with one_job(number, "judging a container", partial(self._why.setdefault, number)):
                state = self._end_of(container, task, record)
                if not state:
                    self._ended_since.pop(_mark(container), None)
                    news += self._news(container, task)
                    if container.requeued > self._site.section.max_requeues:
                        self._too_often(key, container)
                elif self._explained(container, state, record):
                    node = _node(record.node if record else "") or _node(task.node if task else "")
                    shared = self._place(container).per_task > 1
                    ended.append(Ended(container, state, record, node, shared))
        self._keep_news(news)
        keep_results(self._db, self._results)
        self._results = {}
        if ended:
            with self._db.read() as session:
                jobs = store.some(session, {each.container.job_id for each in ended})
            self._why |= self._settler.settle(ended, jobs)

    def _forget(self, placed: Placed) -> None:
        """Forget since when containers are missing, or ended, that are not looked at any more."""
        if not (self._ended_since or self._missing_since):
            return
        marks = {_mark(going) for _, going in placed}
        for known in (self._ended_since, self._missing_since):
            for mark in known.keys() - marks:
                del known[mark]

    def _end_of(
        self, container: Container, task: TaskState | None, record: TaskRecord | None
    ) -> str:
        """Return the state that a task has ended in; empty where it has not, or nothing proves it.

        It is squeue's word, or the accounting's where that says more (who cancelled).
        """
        state = task.state if task is not None else ""
        if record is not None and (task is None or record.state.startswith(f"{task.state} ")):
            state = record.state
        if task is None and lookup(state).meaning is not Meaning.ENDED:
            state = self._forgotten(container)
        return state if lookup(state).meaning is Meaning.ENDED else ""

    def _forgotten(self, container: Container) -> str:
        """Return the state of a task that Slurm knows no more, by the agent's result; empty while that is too early."""
        since = self._missing_since.setdefault(_mark(container), self._clock())
        if self._clock() - since < _FORGOTTEN:
            return ""
        self._read_result(container)
        outcome = _outcome(container)
        if outcome is not None:
            return "COMPLETED" if outcome == "ok" else "FAILED"
        # Nothing of it is in Slurm any more: that is all that a canceled job waits for.
        if container.phase == str(Phase.CANCELING):
            return "CANCELLED"
        return "" if self._accounting.kept else "FORGOTTEN"

    def _explained(self, container: Container, state: str, record: TaskRecord | None) -> bool:
        """Whether all is known of an end, or was waited for long enough."""
        if _outcome(container) != "ok":  # what is known may be of a run before a requeue
            self._read_result(container)
        waited = self._clock() - self._ended_since.setdefault(_mark(container), self._clock())
        outcome = _outcome(container)
        # One that never began has no steps.
        told = not self._accounting.kept or (
            record is not None
            and record.end is not None
            and (bool(record.steps) or not record.start)
        )
        lost = outcome is None and state in ("COMPLETED", "FAILED")
        unexplained = lost or (outcome not in ("ok", "timeout") and not told)
        return not unexplained or waited >= _LAG or container.phase == str(Phase.CANCELING)

    def _read_result(self, container: Container) -> None:
        number = self._place(container).number
        found = read_result(self._site, container.job_id, container.index, number)
        if found is None or found.model_dump(mode="json") == container.result:
            return
        key = container.job_id, container.index
        self._results[key] = Found(found, container.submission_id)
        container.result = found.model_dump(mode="json")

    def _place(self, container: Container) -> Place:
        return self._places[container.submission_id]

    def _news(
        self, container: Container, task: TaskState | None
    ) -> list[tuple[Container, TaskState]]:
        """Note why a container waits; return it and its task where Slurm's state of it is new."""
        number = container.job_id
        if task is None:
            why = "not in squeue, and the accounting shows no end yet"
            self._why.setdefault(number, why)
            return []
        self._missing_since.pop(_mark(container), None)
        self._note_wait(container, task)
        return [] if container.slurm_state == task.state else [(container, task)]

    def _note_wait(self, container: Container | Going, task: TaskState) -> None:
        waits = _why_waiting(container, task)
        if waits is not None:
            self._why.setdefault(container.job_id, waits)

    def _too_often(self, key: Key, container: Container) -> None:
        """End a container that Slurm has put back into its queue more often than its site allows."""
        self._site.backend.cancel([f"{key[0]}_{key[1]}"])
        most = self._site.section.max_requeues
        message = (
            f"was put back into Slurm's queue {container.requeued} times, and {most} are allowed; its nodes fail or are "
            "taken away again and again: tell the gateway's admins"
        )
        with self._db.write() as session:
            row = session.get(Container, (container.job_id, container.index))
            if row is not None and advance_container(session, row, Phase.ERROR, message):
                row.error = message

    def _keep_news(self, news: Sequence[tuple[Container, TaskState]]) -> None:
        if not news:
            return
        with self._db.write() as session:
            begun = set()
            for container, task in news:
                row = session.get(Container, (container.job_id, container.index))
                if row is None or Phase.of(row.phase).terminal:
                    continue
                before = lookup(row.slurm_state or "PENDING").meaning
                row.slurm_state = task.state
                row.node = _node(task.node) or row.node
                if lookup(task.state).meaning is Meaning.WAITING:
                    # A requeued task begins anew: what its first run said is no news of the next.
                    row.result = row.signal = None
                    row.exit_code = row.exit_code if row.upload_only else None
                    row.requeued += before is Meaning.ACTIVE
                elif advance_container(session, row, Phase.STAGE_IN):
                    begun.add(row.job_id)
                session.add(row)
            for job_id in begun:
                job = store.get(session, job_id)
                if job is not None:
                    follow_containers(session, job)

    def _explain(self, jobs: Sequence[Active]) -> None:
        """Keep why jobs wait, and take back what no longer holds."""
        changed: list[tuple[str, int]] = []
        for job in jobs:
            number = job.id
            wanted, said = self._why.get(number), self._said.get(number)
            if wanted != job.reason and (wanted is not None or said == job.reason):
                changed.append((wanted or "", number))
        if changed:
            with self._db.write() as session:
                for reason, some in groupby(sorted(changed), key=lambda pair: pair[0]):
                    store.explain(session, [number for _, number in some], reason or None)
        self._said = self._why

    def _wait(
        self,
        placed: Placed,
        tasks: Mapping[tuple[str, int | None], TaskState],
        unused: bool,
    ) -> float:
        """Poll again soon while something is ending, else after the site's period (with jitter)."""
        ending = any(
            container.phase in ("settling", "canceling")
            or _mark(container) in self._ended_since
            or (key in tasks and tasks[key].state == "COMPLETING")
            for key, container in placed
        )
        period = self._site.section.poll_seconds
        if ending:
            self._quick = min(self._quick + 1, 12)
            return min(period, _SOON * 1.3**self._quick)
        self._quick = 0
        if not placed:
            return min(period, 2.0) if unused else _IDLE
        return period * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


def _node(text: str) -> str | None:
    """Return a node's name; None for what Slurm writes in its place where there is none."""
    return None if text.startswith("(") or text in ("", "None assigned") else text


def _mark(container: Container | Going) -> Mark:
    return container.slurm_job_id or "", container.index


def _outcome(container: Container) -> object:
    return (container.result or {}).get("outcome")


def _why_waiting(container: Container | Going, task: TaskState) -> str | None:
    """Return why a task waits, in words; None where it does not, or Slurm does not say."""
    if lookup(task.state).meaning is not Meaning.WAITING:
        return None
    reason = explain(task.reason)
    if Phase.of(container.phase).rank > Phase.PENDING.rank:
        why = f"{task.state}: {reason}" if reason else task.state
        return f"container {container.job_id}_{container.index} was requeued by Slurm ({why})"
    return reason
