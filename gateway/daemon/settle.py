"""Settling: containers whose Slurm tasks have ended become complete, error or canceled, with proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial

import structlog
from sqlmodel import Session

from gateway.daemon.judge import failed_by_itself, judge, lost_in_slurm, share
from gateway.daemon.later import Later
from gateway.daemon.loops import one_job
from gateway.daemon.output_uploads import OutputUploads
from gateway.errors import AppCode, GatewayError
from gateway.jobs.again import run_again, step_back, summary, upload_again
from gateway.jobs.history import advance_container
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.slurm.protocol import TaskRecord
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job, OutputFile

log = structlog.get_logger()
_BATCH = 200  # containers that are settled in one transaction
_THREADS = 16
_AGAIN = 10.0  # seconds until outputs that could not be looked at are looked at again


@dataclass(frozen=True)
class Ended:
    """A container whose task has ended, with what Slurm and its accounting say; it may have shared the task with others."""

    container: Container
    state: str
    record: TaskRecord | None
    node: str | None
    shared: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """Job and number."""
        return self.container.job_id, self.container.index


@dataclass
class _Verdict:
    """An end, and what S3 shows of its outputs; `seen` has None for an output that is right, else what is wrong.

    `again`: it is not the end, the container is run once more.
    """

    ended: Ended
    phase: Phase
    error: str | None
    outputs: Sequence[OutputFile]
    again: bool = False
    seen: dict[int | None, str | None] = field(default_factory=dict)
    waits: bool = False

    @property
    def uploads(self) -> set[tuple[int | None, str]]:
        """The multipart uploads that were looked after: a late request of the node may have begun another."""
        return {(row.id, row.upload_id) for row in self.outputs if row.upload_id is not None}

    @cached_property
    def claimed(self) -> dict[str, Mapping[str, str | None]]:
        """What the node says it uploaded, by path: ETag and CRCs."""
        return {row["path"]: row for row in (self.ended.container.result or {}).get("outputs", [])}

    def wanted(self, row: OutputFile) -> bool:
        """Whether an output counts: of a container that ended well, what its last run uploaded, not one before."""
        if self.phase is Phase.CANCELED or self.again:
            return False
        return self.phase is not Phase.COMPLETE or row.path in self.claimed

    def conclude(self) -> None:
        """Let a container that ended well fail when S3 does not have all of its outputs as they should be."""
        if self.phase is not Phase.COMPLETE:
            return
        bad = [text for row in self.outputs if (text := self.seen.get(row.id)) and self.wanted(row)]
        lost = sorted(self.claimed.keys() - {row.path for row in self.outputs})
        if lost:
            bad.append(f"failed: its output {lost[0]!r} was never granted and cannot be verified")
        if bad:
            self.phase, self.error = Phase.ERROR, bad[0]


class Settler:
    """Decides how containers ended, verifying their outputs in S3."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        clock: Callable[[], float] = time.monotonic,
        on_again: Callable[[], None] = lambda: None,
        max_requeues: int = 0,
        on_end: Callable[[Container], object] = lambda _: None,
    ) -> None:
        self._db = database
        self._objects = objects
        self._uploads = OutputUploads(database, objects)
        self._on_again = on_again
        self._max_requeues = max_requeues
        self._on_end = on_end
        self._later = Later(_AGAIN, 1, clock)
        self._trouble = ""
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="settle")

    def settle(self, ended: Sequence[Ended], jobs: Mapping[int, Job]) -> dict[int, str]:
        """Give ended containers their end; return why some must wait, by job."""
        why: dict[int, str] = {}
        self._later.new_round()
        for start in range(0, len(ended), _BATCH):
            batch = ended[start : start + _BATCH]
            verdicts = self._judge([each for each in batch if self._may(each)], jobs, why)
            pairs = [(verdict, row) for verdict in verdicts for row in verdict.outputs]
            list(self._pool.map(lambda pair: self._see(*pair), pairs))
            good = self._store([verdict for verdict in verdicts if not verdict.waits])
            left = {each.key for each in batch} - {verdict.ended.key for verdict in good}
            for job_id, _ in left:
                trouble = self._trouble or "an upload began meanwhile"
                why.setdefault(job_id, f"verifying the outputs waits: {trouble}")
        return why

    def _may(self, ended: Ended) -> bool:
        return self._later.may(ended.key)

    def _judge(
        self, ended: Sequence[Ended], jobs: Mapping[int, Job], why: dict[int, str]
    ) -> list[_Verdict]:
        outputs: dict[tuple[int, int], list[OutputFile]] = {}
        if ended:
            with self._db.read() as session:
                for row in store.outputs_of(session, {each.key for each in ended}):
                    outputs.setdefault((row.job_id, row.container), []).append(row)
        verdicts = []
        for each in ended:
            job_id = each.container.job_id
            with one_job(job_id, "settling a container", partial(why.__setitem__, job_id)):
                verdicts.append(self._verdict(each, jobs[job_id], outputs.get(each.key, [])))
        return verdicts

    def _verdict(self, ended: Ended, job: Job, outputs: Sequence[OutputFile]) -> _Verdict:
        container = ended.container
        record = share(ended.record, container.index, shared=ended.shared)
        phase, error = judge(job, container, ended.state, record, shared=ended.shared)
        if lost_in_slurm(ended.state, container):
            more = container.requeued < self._max_requeues
        else:
            more = failed_by_itself(container) and container.retried < job.retries
        again = phase is Phase.ERROR and more
        return _Verdict(ended, phase, error, outputs, again)

    def _run_again(self, session: Session, row: Container, verdict: _Verdict, job: Job) -> str:
        """Have a container run again; return why, as it follows its name in a sentence."""
        row.slurm_state, row.error = verdict.ended.state, verdict.error
        row.node = verdict.ended.node or row.node
        if not lost_in_slurm(verdict.ended.state, verdict.ended.container):
            row.retried += 1
            what = f"retry {row.retried} of {job.retries}"
        else:
            row.requeued += 1
            what = f"run again, {row.requeued} of {self._max_requeues} times"
        error = (verdict.error or "").partition(";")[0]
        if row.upload_only:
            upload_again(session, row, f"{what}: it {error}")
        else:
            run_again(session, row, f"{what}: it {error}")
        store.drop_outputs(session, row.job_id, [row.index])
        return f"{error}; {what}"

    def _see(self, verdict: _Verdict, row: OutputFile) -> None:
        """Look at an output in S3. An upload that was not completed is dropped: it must not cost storage for ever."""
        if verdict.waits or self._later.over:
            verdict.waits = True
            return
        try:
            wrong = (
                self._compare(row, verdict.claimed.get(row.path, {}))
                if verdict.wanted(row)
                else "of no use"
            )
            self._uploads.drop(row)
        except S3UnavailableError as exc:
            self._trouble, verdict.waits = exc.message, True
            self._later.failed(verdict.ended.key)
        else:
            verdict.seen[row.id] = wrong

    def _compare(self, row: OutputFile, claim: Mapping[str, str | None]) -> str | None:
        """Compare an output with S3: None where it is right, else what is wrong. What was announced goes before the claim."""
        name = f"{row.bucket}/{row.key}"
        try:
            head = self._objects.inspect(row.bucket, row.key)
        except S3UnavailableError:
            raise
        except GatewayError as exc:
            if exc.code in (AppCode.S3_PATH_NOT_FOUND, AppCode.S3_BUCKET_NOT_FOUND):
                return f"failed: its output {name} is not in S3"
            return f"failed: its output {name} cannot be verified: {exc.message}"
        etag, crc = row.etag or claim.get("etag"), row.crc64nvme or claim.get("crc64nvme")
        if not etag and None in (crc, head.crc64nvme):
            return (
                f"failed: its output {name} cannot be verified: its node has not said what it wrote"
            )
        if head.size != row.size or head.etag != (etag or head.etag):
            return (
                f"failed: its output {name} in S3 is not what the container wrote: {head.size} bytes "
                f"with ETag {head.etag} instead of {row.size} bytes with {etag}; something else wrote that key"
            )
        for kind, found, right in (
            ("CRC64NVME", head.crc64nvme, crc),
            ("CRC32", head.crc32, claim.get("crc32")),
        ):
            if None not in (found, right) and found != right:
                return (
                    f"failed: its output {name} in S3 is not what the container wrote: {kind} {found} "
                    f"instead of {right}"
                )
        row.etag, row.crc64nvme = head.etag, head.crc64nvme or crc
        return None

    def _store(self, verdicts: Sequence[_Verdict]) -> list[_Verdict]:
        """Write down how containers ended; returns those that were, without some whose uploads are others by now."""
        if not verdicts:
            return []
        again: dict[int, list[tuple[Container, str]]] = {}
        over: list[Container] = []
        with self._db.write() as session:
            now = _uploads(store.outputs_of(session, {each.ended.key for each in verdicts}))
            done = [each for each in verdicts if now.get(each.ended.key, set()) <= each.uploads]
            for verdict in done:
                verdict.conclude()
                ended = verdict.ended
                row = session.get(Container, ended.key)
                if row is None or row.submission_id != ended.container.submission_id:
                    continue
                job = store.get(session, row.job_id) if verdict.again else None
                if job is not None and job.cancel_by is None:
                    why = self._run_again(session, row, verdict, job)
                    again.setdefault(row.job_id, []).append((row, why))
                    continue
                if job is not None:  # it was canceled in this moment
                    verdict.phase, verdict.error = Phase.CANCELED, None
                if not advance_container(session, row, verdict.phase, verdict.error):
                    continue
                row.slurm_state, row.error = ended.state, verdict.error
                row.node = ended.node or row.node
                over.append(row)
                for output in verdict.outputs:
                    if verdict.seen[output.id] is None:
                        output.verified = True
                        session.add(output)
            for job_id, rows in again.items():
                _tell(session, job_id, rows)
        for row in over:
            self._on_end(row)
        if again:
            self._on_again()
        return done


def _uploads(rows: Sequence[OutputFile]) -> dict[tuple[int, int], set[tuple[int | None, str]]]:
    """Return the multipart uploads of outputs by container, each with its output."""
    found: dict[tuple[int, int], set[tuple[int | None, str]]] = {}
    for row in rows:
        if row.upload_id is not None:
            found.setdefault((row.job_id, row.container), set()).add((row.id, row.upload_id))
    return found


def _tell(session: Session, job_id: int, rows: Sequence[tuple[Container, str]]) -> None:
    """Write into a job's history that containers are run again; one that was past running goes back."""
    job = store.get(session, job_id)
    if job is None:
        return
    text = summary([row for row, _ in rows], rows[0][1])
    phase = Phase.of(job.phase)
    step_back(session, job, Phase.SUBMITTING if phase.rank >= Phase.STAGE_OUT.rank else phase, text)
