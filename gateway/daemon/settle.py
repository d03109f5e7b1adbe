"""Settling: containers whose Slurm tasks have ended become complete, error or canceled, with proof."""

from __future__ import annotations

import pwd
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog

from gateway.daemon.later import Later
from gateway.daemon.loops import one_job
from gateway.errors import AppCode, GatewayError
from gateway.jobs.history import advance_container
from gateway.jobs.quantities import format_bytes
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.slurm.protocol import TaskRecord
from gateway.slurm.states import lookup
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job, OutputFile

log = structlog.get_logger()
_APPTAINER_FAILED = 255  # perhaps: the agent's error tells whether it was the container after all
_BATCH = 200  # containers that are settled in one transaction
_THREADS = 16
_AGAIN = 10.0  # seconds until outputs that could not be looked at are looked at again


@dataclass(frozen=True)
class Ended:
    """A container whose task has ended, with what Slurm and its accounting say."""

    container: Container
    state: str
    record: TaskRecord | None
    node: str | None

    @property
    def key(self) -> tuple[int, int]:
        """Job and number."""
        return self.container.job_id, self.container.index


@dataclass
class _Verdict:
    """An end, and what S3 shows of its outputs; `seen` has None for an output that is right, else what is wrong."""

    ended: Ended
    phase: Phase
    error: str | None
    outputs: Sequence[OutputFile]
    seen: dict[int | None, str | None] = field(default_factory=dict)
    waits: bool = False

    @property
    def claimed(self) -> set[str]:
        """Paths that the node says it uploaded."""
        return {row["path"] for row in (self.ended.container.result or {}).get("outputs", [])}

    def wanted(self, row: OutputFile) -> bool:
        """Whether an output counts: of a container that ended well, what its last run uploaded, not one before."""
        if self.phase is Phase.CANCELED:
            return False
        return self.phase is not Phase.COMPLETE or row.path in self.claimed

    def conclude(self) -> None:
        """Let a container that ended well fail when S3 does not have all of its outputs as they should be."""
        if self.phase is not Phase.COMPLETE:
            return
        bad = [text for row in self.outputs if (text := self.seen.get(row.id)) and self.wanted(row)]
        lost = sorted(self.claimed - {row.path for row in self.outputs})
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
    ) -> None:
        self._db = database
        self._objects = objects
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
            good = [verdict for verdict in verdicts if not verdict.waits]
            self._store(good)
            left = {each.key for each in batch} - {verdict.ended.key for verdict in good}
            for job_id, _ in left:
                why.setdefault(job_id, f"verifying the outputs waits: {self._trouble}")
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
                phase, error = judge(jobs[job_id], each.container, each.state, each.record)
                verdicts.append(_Verdict(each, phase, error, outputs.get(each.key, [])))
        return verdicts

    def _see(self, verdict: _Verdict, row: OutputFile) -> None:
        """Look at an output in S3. An upload that was not completed is dropped: it must not cost storage for ever."""
        if verdict.waits or self._later.over:
            verdict.waits = True
            return
        try:
            wrong = self._compare(row) if verdict.wanted(row) else "of no use"
            if wrong is not None and row.upload_id is not None:
                self._abort(row)
        except S3UnavailableError as exc:
            self._trouble, verdict.waits = exc.message, True
            self._later.failed(verdict.ended.key)
        else:
            verdict.seen[row.id] = wrong

    def _compare(self, row: OutputFile) -> str | None:
        """Compare an output with S3: None where it is right, else what is wrong."""
        name = f"{row.bucket}/{row.key}"
        try:
            head = self._objects.inspect(row.bucket, row.key)
        except S3UnavailableError:
            raise
        except GatewayError as exc:
            if exc.code in (AppCode.S3_PATH_NOT_FOUND, AppCode.S3_BUCKET_NOT_FOUND):
                return f"failed: its output {name} is not in S3"
            return f"failed: its output {name} cannot be verified: {exc.message}"
        if head.size != row.size or head.etag != row.etag:
            return (
                f"failed: its output {name} in S3 is not what the container wrote: {head.size} bytes "
                f"with ETag {head.etag} instead of {row.size} bytes with {row.etag}; something else wrote that key"
            )
        if None not in (head.crc64nvme, row.crc64nvme) and head.crc64nvme != row.crc64nvme:
            return (
                f"failed: its output {name} in S3 is not what the container wrote: CRC64NVME {head.crc64nvme} "
                f"instead of {row.crc64nvme}"
            )
        row.crc64nvme = head.crc64nvme or row.crc64nvme
        return None

    def _abort(self, row: OutputFile) -> None:
        try:
            self._objects.abort_upload(row.bucket, row.key, row.upload_id or "")
        except S3UnavailableError:
            raise
        except (
            GatewayError
        ) as exc:  # who may not abort it can do no more, and the job has ended all the same
            log.warning("upload.stays", job=row.job_id, key=row.key, error=exc.message)

    def _store(self, verdicts: Sequence[_Verdict]) -> None:
        if not verdicts:
            return
        with self._db.write() as session:
            for verdict in verdicts:
                verdict.conclude()
                ended = verdict.ended
                row = session.get(Container, ended.key)
                if row is None or not advance_container(session, row, verdict.phase, verdict.error):
                    continue
                row.slurm_state, row.error = ended.state, verdict.error
                row.node = ended.node or row.node
                for output in verdict.outputs:
                    if verdict.seen[output.id] is None:
                        output.verified = True
                        session.add(output)


def judge(
    job: Job, container: Container, slurm_state: str, record: TaskRecord | None
) -> tuple[Phase, str | None]:
    """Decide a container's end from its result, Slurm's state and the accounting's steps.

    The text is what follows "container 12_0" in a sentence.
    """
    result = container.result or {}
    outcome = result.get("outcome")
    if job.cancel_by is not None and outcome != "ok":
        return Phase.CANCELED, None
    if outcome == "ok" and result.get("exit_code") == 0:
        return Phase.COMPLETE, None
    memory = record is not None and any(step.state.startswith("OUT_OF_ME") for step in record.steps)
    if memory or result.get("memory_ran_out") is True or slurm_state.startswith("OUT_OF_ME"):
        return Phase.ERROR, f"{lookup('OUT_OF_MEMORY').message} than {format_bytes(job.memory)}"
    word = slurm_state.split(" ", maxsplit=1)[0]
    if outcome in (None, "canceled", "agent-failed") and (
        outcome is None or word not in ("COMPLETED", "FAILED")
    ):
        return Phase.ERROR, f"{lookup(slurm_state).message}{_by(slurm_state)}"
    code, signal = result.get("exit_code"), result.get("signal")
    if outcome == "container-failed" and signal:
        return Phase.ERROR, f"was killed by signal {signal}"
    if outcome == "container-failed" and code and code != _APPTAINER_FAILED:
        return Phase.ERROR, f"exited with code {code}"
    remedy = "; ask for a longer runtime" if outcome == "timeout" else ""
    return Phase.ERROR, f"failed: {result.get('error') or outcome}{remedy}"


def _by(slurm_state: str) -> str:
    """Who cancelled it, of `CANCELLED by 2001`."""
    match = re.search(r" by ([0-9]+)$", slurm_state, re.ASCII)
    if match is None:
        return ""
    try:
        return f", by {pwd.getpwuid(int(match[1])).pw_name}"
    except (KeyError, OverflowError):
        return f", by uid {match[1]}"


def describe(job: Job, containers: Sequence[Container], outputs: int) -> tuple[Phase, str | None]:
    """Decide a job's end from its containers', and say in a sentence what went wrong."""
    failed = [c for c in containers if c.phase == "error"]
    if job.cancel_by is not None and any(c.phase == "canceled" for c in containers):
        return Phase.CANCELED, None
    if failed:
        first = failed[0]
        many = (
            f"{len(failed)} of {len(containers)} containers failed; the first: "
            if len(containers) > 1
            else ""
        )
        return Phase.ERROR, (
            f"{many}container {job.id}_{first.index} {first.error}. Read its logs with: "
            f"cts logs -c {first.index} {job.id}"
        )
    if outputs == 0 and not job.job_input.get("allow_empty_output"):
        return Phase.ERROR, (
            "All containers exited 0 but wrote no file to the output directory "
            f"{job.job_input['params']['output_mount_point']}. Write results there, or set allow_empty_output."
        )
    return Phase.COMPLETE, None
