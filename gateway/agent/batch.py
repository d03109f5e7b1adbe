"""The batch process: claims the task, runs the three steps, composes the result, tells the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Dict, List, Optional

from .files import Job, StepResult, read_job, utc, write_json
from .mailbox import Mailbox, Stop
from .place import Place, Slurm, read_slurm
from .steps import describe_slurm, result_of

NOT_MINE = 75
FAILED = 70


class Batch:
    """One run of one container."""

    def __init__(self, job: Job, job_file: str, n: int, slurm: Slurm) -> None:
        self._job = job
        self._job_file = job_file
        self._n = n
        self._slurm = slurm
        self._place = Place(job, n, slurm)
        self._mailbox = Mailbox(job, n, slurm, self._place, "batch")
        self._stop = Stop()
        self._step: Optional[subprocess.Popen[bytes]] = None
        self._times: Dict[str, List[Optional[str]]] = {}

    def run(self) -> int:
        """Run the phases; returns the exit code of the batch script."""
        signal.signal(signal.SIGUSR1, self._signalled)
        signal.signal(signal.SIGTERM, self._signalled)
        self._place.clean_start()
        stage_in = self._phase("stage-in")
        if stage_in.outcome != "ok":
            return self._end(stage_in, StepResult("ok"), StepResult("ok"))
        ran = self._phase("run")
        sent = StepResult("ok")
        if ran.outcome in ("ok", "timeout") and not self._stop.canceled:
            sent = self._phase("stage-out")
        return self._end(stage_in, ran, sent)

    def _signalled(self, number: int, _frame: Optional[FrameType]) -> None:
        if number == signal.SIGUSR1:
            self._stop.timeout = True
        else:
            self._stop.canceled = True
        if self._step is not None and self._step.poll() is None:
            self._step.send_signal(number)

    def _phase(self, phase: str) -> StepResult:
        if self._stop.canceled or (self._stop.timeout and phase != "stage-out"):
            return StepResult(
                self._stop.reason or "canceled", error=f"the job was stopped before {phase}"
            )
        self._times[phase] = [utc(time.time()), None]
        self._write_status(phase)
        self._mailbox.tell("phase", phase=phase, time=self._times[phase][0])
        argv = [
            "srun",
            "--ntasks=1",
            "--nodes=1",
            f"--cpus-per-task={self._job.cpus}",
            f"--job-name={phase}",
            "--input=none",
        ]
        if phase == "run" and self._job.run_memory_mb is not None:
            argv.append(f"--mem={self._job.run_memory_mb}M")
        argv += [
            self._job.python,
            "-I",
            self._job.agent,
            "step",
            phase,
            self._job_file,
            str(self._n),
        ]
        self._step = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        if self._stop.reason is not None:  # it came between the look above and the start
            self._step.send_signal(signal.SIGTERM if self._stop.canceled else signal.SIGUSR1)
        code = self._step.wait()
        self._step = None
        self._times[phase][1] = utc(time.time())
        return result_of(self._place, phase, code)

    def _write_status(self, phase: str) -> None:
        write_json(
            self._place.base / "status.json",
            {
                "version": 1,
                "phase": phase,
                "slurm_job_id": self._slurm.job_id,
                "host": self._slurm.host,
                "times": self._times,
                "bytes_done": 0,
                "bytes_total": 0,
            },
        )

    def _end(self, stage_in: StepResult, ran: StepResult, sent: StepResult) -> int:
        worst = next(
            (part for part in (stage_in, ran, sent) if part.outcome != "ok"), StepResult("ok")
        )
        outcome = "canceled" if self._stop.canceled and worst.outcome != "ok" else worst.outcome
        started = "run" in self._times
        write_json(
            self._place.base / "result.json",
            {
                "version": 1,
                "slurm_job_id": self._slurm.job_id,
                "host": self._slurm.host,
                "outcome": outcome,
                "exit_code": ran.exit_code if started else None,
                "signal": ran.signal if started else None,
                "error": worst.error,
                "times": self._times,
                "bytes_in": stage_in.transferred,
                "bytes_out": sent.transferred,
                "image_cached": stage_in.image_cached,
                "outputs": [
                    {
                        "path": o.path,
                        "size": o.size,
                        "etag": o.etag,
                        "md5": o.md5,
                        "crc64nvme": o.crc64nvme,
                    }
                    for o in sent.outputs
                ],
                "log_truncated": ran.log_truncated,
            },
        )
        self._write_status("end")
        self._mailbox.tell("result")
        self._place.clean_end(keep_outputs=outcome != "ok")
        if outcome == "ok":
            return 0
        code = ran.exit_code
        return code if started and code is not None and 1 <= code <= 255 else FAILED


def claim(job: Job, number: int, slurm: Slurm) -> bool:
    """Claim a submission for this Slurm job; False when another has it: then nothing may be touched."""
    path = job.job_dir / f"claim-{number}"
    part = job.job_dir / f".claim-{number}.tmp-{slurm.job_id}"
    part.write_text(slurm.owner)
    try:
        os.link(part, path)  # with its content, or not at all
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_text().strip() == slurm.owner


def batch(job_file: str, number: int, first: int) -> int:
    """Run the container of this array task; returns the exit code of the batch script."""
    os.umask(0o077)
    job = read_job(Path(job_file))
    slurm = read_slurm(os.environ)
    print(describe_slurm(slurm), file=sys.stderr, flush=True)
    if not claim(job, number, slurm):
        print("cts: another Slurm job runs this container; nothing is done here", file=sys.stderr)
        return NOT_MINE
    return Batch(job, job_file, first + slurm.task, slurm).run()
