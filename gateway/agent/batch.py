"""The batch process of one task: claim, three job steps, result.json, a word to the daemon."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from .files import ContractError, StepResult, read_job, read_step, utc, write_json
from .mailbox import Mailbox, Stop, Stopped
from .place import Place, Slurm, read_slurm
from .srun import Steps

ANOTHERS = 75
_FAILED = 70
_CLAIM_READS = 50
_FAILURE = {
    "stage-in": "stage-in-failed",
    "run": "container-failed",
    "stage-out": "stage-out-failed",
}


def batch(job_file: str, k: int, first: int, environ: Mapping[str, str]) -> int:
    """Run container `first` + array task; return the exit code of the batch script.

    0 for an outcome of ok; 75 when another Slurm job has the claim; else the container's exit code
    where that is 1..255, else 70.
    """
    os.umask(0o077)
    slurm = read_slurm(environ)
    n = first + slurm.task
    folder = Path(job_file).parent
    owner = claim(folder / f"claim-{k}", slurm.owner)
    if owner != slurm.owner:
        print(f"container {n} is run by Slurm job {owner}, not by {slurm.owner}", file=sys.stderr)
        return ANOTHERS
    report = Report(folder / str(n), slurm)
    try:
        result = _batch(job_file, n, slurm, environ, report)
    except ContractError as exc:
        result = StepResult("agent-failed", error=str(exc))
    except Exception as exc:  # noqa: BLE001 - the last line: whatever it is is told
        from .steps import explain  # noqa: PLC0415 - for errors alone

        result = StepResult("agent-failed", error=explain(exc))
    report.finish(result)
    if result.error:
        print(f"{result.outcome}: {result.error}", file=sys.stderr, flush=True)
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


class Report:
    """status.json and result.json of a container."""

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self._folder = folder
        self._slurm = slurm
        self._times: Dict[str, List[Optional[str]]] = {}
        self.steps: Dict[str, StepResult] = {}
        self.mailbox: Optional[Mailbox] = None
        self.place: Optional[Place] = None

    def phase(self, name: str) -> None:
        """Note that a phase begins, here and (should the mailbox fail, nowhere else) to the daemon."""
        self.end()
        now = utc(time.time())
        if name != "end":
            self._times[name] = [now, None]
        status = {"version": 1, "phase": name, "slurm_job_id": self._slurm.job_id,
                  "host": self._slurm.host, "times": self._times, "bytes_done": 0,
                  "bytes_total": 0}  # fmt: skip
        try:
            write_json(self._folder / "status.json", status)
            if name != "end" and self.mailbox is not None:
                self.mailbox.tell("phase", phase=name, time=now, host=self._slurm.host)
        except OSError as exc:
            print(f"{name}: {exc}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Note that the present phase is over."""
        for times in self._times.values():
            if times[1] is None:
                times[1] = utc(time.time())

    def finish(self, result: StepResult) -> None:
        """Write result.json, then tell the daemon, then free the space. Errors are printed."""
        self.phase("end")
        none = StepResult("")
        document = {
            "version": 1,
            "slurm_job_id": self._slurm.job_id,
            "host": self._slurm.host,
            "outcome": result.outcome,
            "exit_code": result.exit_code,
            "signal": result.signal,
            "error": result.error,
            "times": self._times,
            "bytes_in": self.steps.get("stage-in", none).transferred,
            "bytes_out": self.steps.get("stage-out", none).transferred,
            "image_cached": self.steps.get("stage-in", none).image_cached,
            "outputs": [output._asdict() for output in result.outputs],
            "log_truncated": result.log_truncated,
            "memory_ran_out": result.memory_ran_out,
        }
        keep = result.outcome != "ok"
        if self.place is not None and self.place.scratch is not None and keep:
            self._free(keep_outputs=True)  # before the daemon thinks it knows all
        for attempt in range(5):
            try:
                write_json(self._folder / "result.json", document)
                if self.mailbox is not None:
                    self.mailbox.tell("result")
                break
            except OSError as exc:
                print(f"result.json: {exc}", file=sys.stderr, flush=True)
                time.sleep(2.0**attempt)
        self._free(keep_outputs=keep)

    def _free(self, *, keep_outputs: bool) -> None:
        if self.place is None:
            return
        try:
            self.place.clean_end(keep_outputs=keep_outputs)
        except OSError as exc:
            print(f"clean-up: {exc}", file=sys.stderr, flush=True)


def _batch(
    job_file: str, n: int, slurm: Slurm, environ: Mapping[str, str], report: Report
) -> StepResult:
    job = read_job(Path(job_file))
    stop = Stop()
    place = Place(job, n, slurm)
    steps = Steps(job, job_file, n, place, environ, stop)
    steps.listen()
    place.clean_start()
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
