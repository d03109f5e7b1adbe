"""Settling: a container whose Slurm task has ended becomes complete, error or canceled, with proof."""

from __future__ import annotations

import pwd
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.daemon.site import Site
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

_APPTAINER_FAILED = 255  # perhaps: the agent's error tells whether it was the container after all


class Settler:
    """Decides how a container ended, verifying its outputs in S3."""

    def __init__(self, database: Database, objects: ObjectStore, site: Site) -> None:
        self._db = database
        self._objects = objects
        self._site = site
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="settle")

    def settle(self, container: Container, slurm_state: str, record: TaskRecord | None) -> None:
        """Give an ended container its end.

        Raises
        ------
        S3UnavailableError
            When its outputs cannot be looked at now: it stays as it is.
        """
        with self._db.read() as session:
            job = store.get(session, container.job_id)
            outputs = store.outputs(session, container.job_id, container.index)
        if job is None:
            return
        phase, error = judge(job, container, slurm_state, record)
        verified = self._verify(container, outputs) if phase is not Phase.CANCELED else {}
        bad = [text for text in verified.values() if text is not None]
        if phase is Phase.COMPLETE and bad:
            phase, error = Phase.ERROR, bad[0]
        if phase is Phase.COMPLETE:
            claimed = {str(row["path"]) for row in (container.result or {}).get("outputs", [])}
            lost = claimed - {row.path for row in outputs}
            if lost:
                phase, error = (
                    Phase.ERROR,
                    f"failed: its output {sorted(lost)[0]!r} was never granted and cannot be verified",
                )
        for row in outputs:
            # What was completed has no upload any more; what was not must not cost storage for ever.
            if row.upload_id is not None and verified.get(row.id, "unknown") is not None:
                self._objects.abort_upload(row.bucket, row.key, row.upload_id)
        with self._db.write() as session:
            for row in outputs:
                if row.id in verified and verified[row.id] is None:
                    row.verified = True
                    session.merge(row)
            stored = session.get(Container, (container.job_id, container.index))
            if stored is None:
                return
            stored.slurm_state, stored.error = slurm_state, error
            if record is not None and record.node and record.node != "None assigned":
                stored.node = record.node
            session.add(stored)
            advance_container(session, stored, phase, error)

    def _verify(
        self, container: Container, outputs: Sequence[OutputFile]
    ) -> dict[int | None, str | None]:
        """Compare every granted output with S3: None where it is right, else what is wrong."""
        results = list(self._pool.map(self._verify_one, outputs))
        return {row.id: result for row, result in zip(outputs, results, strict=True)}

    def _verify_one(self, row: OutputFile) -> str | None:
        try:
            head = self._objects.inspect(row.bucket, row.key)
        except S3UnavailableError:
            raise
        except GatewayError as exc:
            if exc.code in (AppCode.S3_PATH_NOT_FOUND, AppCode.S3_BUCKET_NOT_FOUND):
                return f"failed: its output {row.bucket}/{row.key} is not in S3"
            return f"failed: its output {row.bucket}/{row.key} cannot be verified: {exc.message}"
        if head.size != row.size or head.etag != row.etag:
            return (
                f"failed: its output {row.bucket}/{row.key} in S3 is not what the container wrote: {head.size} bytes "
                f"with ETag {head.etag} instead of {row.size} bytes with {row.etag}; something else wrote that key"
            )
        row.crc64nvme = head.crc64nvme or row.crc64nvme
        return None


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
