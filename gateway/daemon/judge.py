"""Judging: how a container, or a whole job, ended, and the sentence that says so."""

from __future__ import annotations

import pwd
import re
import signal
from collections.abc import Sequence
from dataclasses import replace

from gateway.jobs.quantities import format_bytes
from gateway.jobs.states import Phase
from gateway.slurm.protocol import StepRecord, TaskRecord
from gateway.slurm.states import LOST, lookup
from gateway.store.tables import Container, Job

_APPTAINER_FAILED = 255  # perhaps: the agent's error tells whether it was the container after all
# Of a task with several containers each step says whose it is.
_STEP = re.compile(r"(stage-in|run|stage-out)(?:-([0-9]{1,7}))?", re.ASCII)


def share(record: TaskRecord | None, index: int, *, shared: bool) -> TaskRecord | None:
    """Return a task's record with the steps of one container, named by their phases.

    Of a task that containers share, what Slurm itself did for it (`batch`, `extern`) is no single one's.
    """
    if record is None:
        return None
    steps: list[StepRecord] = []
    for step in record.steps:
        match = _STEP.fullmatch(step.name)
        if match is None:
            steps += [] if shared else [step]
        elif match[2] is None or int(match[2]) == index:
            steps.append(replace(step, name=match[1]))
    return replace(record, steps=tuple(steps))


def failed_by_itself(container: Container) -> bool:
    """Whether the container's program ended it, with an exit code other than 0 or by a signal: what `retries` is for."""
    result = container.result or {}
    return result.get("outcome") == "container-failed" and bool(result.get("exit_code"))


def lost_in_slurm(slurm_state: str, container: Container) -> bool:
    """Whether its node or its place was taken from a container before it could end: what a site's `max_requeues` is for."""
    if slurm_state.split(" ", maxsplit=1)[0] not in LOST:
        return False
    result = container.result or {}
    if result.get("outcome") == "container-failed":
        # What Slurm kills of a lost job it kills in any order: the agent may have lived to tell of the container's end.
        return result.get("signal") in (signal.SIGKILL, signal.SIGTERM)
    return result.get("outcome") in (None, "canceled", "agent-failed")


def judge(
    job: Job,
    container: Container,
    slurm_state: str,
    record: TaskRecord | None,
    *,
    shared: bool = False,
) -> tuple[Phase, str | None]:
    """Decide a container's end from its result, Slurm's state and the accounting's steps, which are its own (`share`).

    Where others `shared` its task, Slurm's state may be of what befell them. The text is what follows "container 12_0" in a sentence.
    """
    result = container.result or {}
    outcome = result.get("outcome")
    if job.cancel_by is not None and outcome != "ok":
        return Phase.CANCELED, None
    if outcome == "ok" and result.get("exit_code") == 0:
        return Phase.COMPLETE, None
    memory = record is not None and any(step.state.startswith("OUT_OF_ME") for step in record.steps)
    told = slurm_state.startswith("OUT_OF_ME") and (outcome is None or not shared)
    if memory or told or result.get("memory_ran_out") is True:
        return Phase.ERROR, f"{lookup('OUT_OF_MEMORY').message} than {format_bytes(job.memory)}"
    word = slurm_state.split(" ", maxsplit=1)[0]
    if lost_in_slurm(slurm_state, container) or (
        outcome in (None, "canceled", "agent-failed")
        and (outcome is None or word not in ("COMPLETED", "FAILED"))
    ):
        return Phase.ERROR, f"{lookup(slurm_state).message}{_by(slurm_state)}"
    code, killer = result.get("exit_code"), result.get("signal")
    full = "; the disk of its outputs was full" if result.get("disk_full") is True else ""
    if outcome == "container-failed" and killer:
        return Phase.ERROR, f"was killed by signal {killer}{full}"
    if outcome == "container-failed" and code and code != _APPTAINER_FAILED:
        return Phase.ERROR, f"exited with code {code}{full}"
    remedy = "; ask for a longer runtime" if outcome == "timeout" else ""
    return Phase.ERROR, f"failed: {result.get('error') or outcome}{remedy}"


def _by(slurm_state: str) -> str:
    """Who cancelled it, of `CANCELLED by 2001`, or `CANCELLED by bob` as slurmrestd has it."""
    match = re.search(r" by ([0-9]+|[A-Za-z_][A-Za-z0-9_.-]{0,63})$", slurm_state, re.ASCII)
    if match is None:
        return ""
    if not match[1].isdecimal():
        return f", by {match[1]}"
    try:
        return f", by {pwd.getpwuid(int(match[1])).pw_name}"
    except (KeyError, OverflowError):
        return f", by uid {match[1]}"


def describe(job: Job, containers: Sequence[Container], outputs: int) -> tuple[Phase, str | None]:
    """Decide a job's end from its containers', and say in a sentence what went wrong."""
    failed = [c for c in containers if c.phase == "error"]
    canceled = not containers or any(c.phase == "canceled" for c in containers)
    if job.cancel_by is not None and canceled:
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
