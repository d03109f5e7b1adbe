"""What the end of a container means: outcome, exit code, signal, a sentence for the user."""

from __future__ import annotations

import signal
from typing import Optional

from .files import Job, StepResult
from .run import Ended


def judge(job: Job, ended: Ended, *, memory_ran_out: bool, disk_full: bool = False) -> StepResult:
    """Return the result of the run step; `disk_full`: that of the outputs, at its end."""
    number = ended.status - 128
    died_of = number if 0 < number < signal.NSIG else None
    outcome, error = _outcome(job, ended, died_of, memory_ran_out=memory_ran_out)
    if ended.log_error is not None:
        note = f"the log is not complete: {ended.log_error}"
        error = note if error is None else f"{error}; {note}"
    return StepResult(
        outcome,
        exit_code=ended.status,
        signal=died_of,
        error=error,
        log_truncated=ended.truncated,
        memory_ran_out=memory_ran_out,
        disk_full=disk_full and outcome == "container-failed",
    )


def _outcome(
    job: Job, ended: Ended, died_of: Optional[int], *, memory_ran_out: bool
) -> tuple[str, Optional[str]]:
    if ended.stopped == "runtime":
        return "timeout", f"the container ran past its runtime of {job.runtime_seconds} s"
    if ended.stopped == "timeout":
        return "timeout", "Slurm's time limit of the job came while the container ran"
    if ended.stopped == "canceled":
        return "canceled", "the job was canceled while the container ran"
    if memory_ran_out:
        # Also where the container went on: what a killed process was to write may be missing.
        return "container-failed", (
            f"the container ran out of memory: a process of it was killed (the job asked for "
            f"{job.memory} bytes; exit code {ended.status})"
        )
    if ended.status == 0:
        return "ok", None
    if died_of is not None:
        return "container-failed", f"the container was ended by {_signal_name(died_of)}"
    last = ended.tail.strip().splitlines()[-1:] or [""]
    if ended.status == 255 and last[0].startswith("FATAL:"):
        said = last[0].partition(":")[2].strip()
        if "engine configuration too big" in said:
            return "container-failed", (
                "the arguments and environment of the container are more than Apptainer takes (1 "
                "MB in all); use more containers with fewer files each"
            )
        return "container-failed", f"apptainer could not start the container: {said[:300]}"
    return "container-failed", f"the container ended with exit code {ended.status}"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
