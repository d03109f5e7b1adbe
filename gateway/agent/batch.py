"""The batch process of a container: claim, three job steps, result.json, a word to the daemon.

Where a task has several containers, it starts such a process for each (`pack`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Mapping, Optional

from .files import (
    ContractError,
    Job,
    StepResult,
    Submission,
    read_container,
    read_job,
    read_step,
    read_submission,
)
from .mailbox import Mailbox, Stop, Stopped
from .place import Place, Slurm, is_full, read_slurm
from .report import Report
from .srun import Steps

ANOTHERS = 75
_FAILED = 70
_CLAIM_READS = 50
_FAILURE = {
    "stage-in": "stage-in-failed",
    "run": "container-failed",
    "stage-out": "stage-out-failed",
}


def batch(job_file: str, k: int, environ: Mapping[str, str], only: Optional[int] = None) -> int:
    """Run what submission `k` has for this array task, or that one container of it; return the exit code.

    0 for an outcome of ok; 75 when another Slurm job has the claim; else the container's exit code
    where that is 1..255, else 70.
    """
    os.umask(0o077)
    slurm = read_slurm(environ)
    folder = Path(job_file).parent
    owner = claim(folder / f"claim-{k}", slurm.owner)
    if owner != slurm.owner:
        print(f"submission {k} is run by Slurm job {owner}, not by {slurm.owner}", file=sys.stderr)
        return ANOTHERS
    try:
        submission = read_submission(folder / f"submit-{k}.json")
        mine = submission.of_task(slurm.task)
    except (OSError, ContractError) as exc:
        print(f"the containers of task {slurm.task} are not known: {exc}", file=sys.stderr)
        return _FAILED
    if only is None and len(mine) > 1:
        from .pack import side_by_side  # noqa: PLC0415 - where sites pack

        return side_by_side([sys.executable, "-I", sys.argv[0], "batch", job_file, str(k)], mine)
    n = mine[0] if only is None else only
    return _container(job_file, k, n, slurm, environ, submission, packed=only is not None)


def _container(
    job_file: str,
    k: int,
    n: int,
    slurm: Slurm,
    environ: Mapping[str, str],
    submission: Submission,
    *,
    packed: bool,
) -> int:
    report = Report(Path(job_file).parent / str(n), slurm, k)
    try:
        job = read_job(Path(job_file), k)
        stop = Stop()
        place = Place(job, n, slurm)
        steps = Steps(job, job_file, n, place, environ, stop, packed=packed)
        steps.listen()
        if submission.upload_only:
            result = _upload(job, n, slurm, place, steps, report, stop)
        else:
            result = _run(job, n, slurm, place, steps, report, stop)
    except ContractError as exc:
        result = StepResult("agent-failed", exit_code=report.exit_code, error=str(exc))
    except Exception as exc:  # noqa: BLE001 - the last line: whatever it is is told
        from .steps import explain  # noqa: PLC0415 - for errors alone

        result = StepResult("agent-failed", exit_code=report.exit_code, error=explain(exc))
    report.finish(result)
    if result.error:
        whose = f"container {n}: " if packed else ""
        print(f"{whose}{result.outcome}: {result.error}", file=sys.stderr, flush=True)
    if result.outcome == "ok":
        return 0
    return result.exit_code if result.exit_code and 0 < result.exit_code < 256 else _FAILED


def claim(path: Path, owner: str) -> str:
    """Claim a batch script for a Slurm job; return whose it is.

    The file appears whole, by a link(2), which is atomic over NFS, too; by O_EXCL where there are
    no links.

    Raises
    ------
    OSError
        When the file can be neither made nor read.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.uname().nodename}-{os.getpid()}")
    temporary.write_text(owner, encoding="ascii")
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        with contextlib.suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(owner)
    finally:
        temporary.unlink(missing_ok=True)
    for _ in range(_CLAIM_READS):
        found = path.read_text(encoding="ascii").strip()
        if found:
            return found
        time.sleep(0.1)
    raise OSError(f"{path} is empty")


def _run(
    job: Job, n: int, slurm: Slurm, place: Place, steps: Steps, report: Report, stop: Stop
) -> StepResult:
    place.clean_start(read_container(place.base / "container.json").attempt)
    report.place = place
    report.mailbox = Mailbox(job, n, slurm, place, "batch")
    if job.staging is not None and job.staging.kind == "image":
        from .image_stage import stage_image  # noqa: PLC0415 - seldom wanted

        return stage_image(job, place, report, stop)
    if job.staging is not None:
        from .refdata import stage  # noqa: PLC0415 - seldom wanted

        return stage(job, job.staging, place, report, stop)
    staged = _phase("stage-in", steps, place, report, stop)
    if staged.outcome != "ok":
        return staged
    ran = _phase("run", steps, place, report, stop)
    if ran.outcome not in ("ok", "timeout") or ran.exit_code is None:
        return ran
    if stop.canceled and ran.outcome != "ok":
        return ran  # one that exited 0 goes on to be told that its outputs were not uploaded
    out = _phase("stage-out", steps, place, report, stop)
    return compose(ran, out, limit_came=stop.timeout)


def _upload(
    job: Job, n: int, slurm: Slurm, place: Place, steps: Steps, report: Report, stop: Stop
) -> StepResult:
    """Upload what the container left when it ran in an earlier submission; it does not run again."""
    from .kept import read_kept  # noqa: PLC0415 - seldom wanted

    ran = read_kept(place.base / "result.json")
    report.take_over(ran)
    place.clean_steps()
    report.place = place
    report.mailbox = Mailbox(job, n, slurm, place, "batch")
    if not place.outputs.is_dir():
        return ran.result._replace(
            outcome="stage-out-failed", error="nothing is kept of its outputs; run it again"
        )
    out = _phase("stage-out", steps, place, report, stop)
    return compose(ran.result, out, limit_came=stop.timeout)


def _phase(phase: str, steps: Steps, place: Place, report: Report, stop: Stop) -> StepResult:
    report.phase(phase)
    try:
        code = steps.run(phase)
    except Stopped as exc:
        what = (
            "Slurm's time limit of the job came"
            if exc.reason == "timeout"
            else "the job was canceled"
        )
        result = StepResult(exc.reason, error=f"{what} before {phase}")
    else:
        result = _outcome(phase, code, place, stop)
    report.end()
    report.steps[phase] = result
    return result


def _outcome(phase: str, code: int, place: Place, stop: Stop) -> StepResult:
    """Return how a step ended: run, on the worst of its nodes."""
    if phase != "run":
        return _outcome_of(phase, code, place, stop, 0)
    from .nodes import worst  # noqa: PLC0415 - of use once

    return worst([_outcome_of(phase, code, place, stop, rank) for rank in place.ranks])


def _outcome_of(phase: str, code: int, place: Place, stop: Stop, rank: int) -> StepResult:
    """Return what a step wrote, or make something of its silence."""
    with contextlib.suppress(OSError, ContractError):
        return read_step(place.step_file(phase, rank))
    if stop.reason is not None:
        return StepResult(stop.reason, error=f"the job was ended during {phase}")
    if not place.begun_file(phase, rank).exists():
        return StepResult(
            "agent-failed",
            error=f"srun could not start {phase} (exit code {code}; see the job's log)",
        )
    if is_full(place.base):
        return StepResult(
            _FAILURE[phase],
            error=f"{phase} ended without a result (exit code {code}): the disk of the job's directory is full",
        )
    if phase == "run" and code in (137, 1, 0):
        return StepResult(
            "container-failed",
            exit_code=137,
            signal=9,
            error="the container was killed, most likely because it ran out of memory",
        )
    return StepResult(_FAILURE[phase], error=f"{phase} ended without a result (exit code {code})")


def compose(ran: StepResult, out: StepResult, *, limit_came: bool) -> StepResult:
    """Return the result of a container that ran, from how it ended and how its outputs were uploaded."""
    outcome, error = ran.outcome, ran.error
    if out.outcome != "ok":
        if ran.outcome == "ok":
            outcome, error = out.outcome, out.error
            if out.outcome == "canceled" and limit_came:
                outcome, error = (
                    "timeout",
                    "Slurm's time limit of the job came before all was uploaded",
                )
        else:
            error = f"{error}; not all outputs were uploaded: {out.error}"
    return ran._replace(outcome=outcome, error=error, outputs=out.outputs)
