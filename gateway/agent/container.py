"""Running the container: apptainer by an argv list, its logs bounded, its run time kept."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, List, Optional

from .files import Container, Job, StepResult
from .image import sif_path, small_environment
from .mailbox import Stop
from .place import Place

_CANCEL_GRACE = 2.0


class Pump(threading.Thread):
    """Copies a stream of the container into a log, at most `most` bytes, and drains the rest."""

    def __init__(self, source: IO[bytes], path: Path, most: int) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._path = path
        self._left = most
        self._most = most
        self.truncated = False

    def run(self) -> None:
        """Copy until the stream ends."""
        with self._path.open("wb", buffering=0) as log:
            while True:
                data = os.read(self._source.fileno(), 65536)
                if not data:
                    return
                self._take(log, data)

    def _take(self, log: IO[bytes], data: bytes) -> None:
        if self.truncated:
            return
        try:
            log.write(data[: self._left])
            self._left -= len(data)
            if self._left < 0:
                self.truncated = True
                notice = f"\n[cts: the log is cut here, after {self._most} bytes]\n"
                log.write(notice.encode())
        except OSError:
            self.truncated = True  # a full disk: the container goes on, its log does not


def command(job: Job, container: Container, place: Place) -> List[str]:
    """Return the argv; the image's entrypoint is run as such, not by its runscript, which is a shell script."""
    program = [*job.image.entrypoint, *(container.args or job.image.cmd)]
    return [
        job.apptainer,
        "--quiet",
        "exec",
        "--containall",
        "--cleanenv",
        "--no-home",
        "--no-eval",
        "--workdir",
        str(place.tmp),
        "--pwd",
        job.image.workdir,
        "--bind",
        f"{place.inputs}:{job.input_mount_point}:ro",
        "--bind",
        f"{place.outputs}:{job.output_mount_point}",
        *job.apptainer_flags,
        str(sif_path(job)),
        *program,
    ]


def run(job: Job, container: Container, place: Place, stop: Stop) -> StepResult:
    """Run the container to its end; returns how it ended."""
    environment = small_environment(place.home)
    for name, value in container.environment.items():
        environment[f"APPTAINERENV_{name}"] = value
    try:
        process = subprocess.Popen(
            command(job, container, place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as exc:
        return StepResult("agent-failed", error=f"{job.apptainer} cannot be run: {exc.strerror}")
    pumps = [
        Pump(source, place.base / name, job.max_log_size)
        for source, name in ((process.stdout, "stdout"), (process.stderr, "stderr"))
        if source is not None
    ]
    for pump in pumps:
        pump.start()
    why = _wait(process, job, stop)
    for pump in pumps:
        pump.join(10)
    code = process.returncode
    died = -code if code < 0 else (code - 128 if 128 < code < 128 + 32 else None)
    shown = 128 - code if code < 0 else code
    truncated = any(pump.truncated for pump in pumps)
    if why is not None:
        outcome, error = why
        return StepResult(outcome, shown, died, error, log_truncated=truncated)
    if code == 0:
        return StepResult("ok", 0, log_truncated=truncated)
    return StepResult(
        "container-failed",
        shown,
        died,
        f"the container exited with code {shown}",
        log_truncated=truncated,
    )


def _wait(process: subprocess.Popen[bytes], job: Job, stop: Stop) -> Optional["tuple[str, str]"]:
    deadline = time.monotonic() + job.runtime_seconds
    while True:
        try:
            process.wait(0.05)
            return None
        except subprocess.TimeoutExpired:
            pass
        if stop.reason == "canceled":
            _end(process, min(_CANCEL_GRACE, job.grace_seconds))
            return "canceled", "the job was canceled"
        if stop.reason == "timeout":
            _end(process, job.grace_seconds)
            return "timeout", "was stopped because Slurm's time limit was near"
        if time.monotonic() > deadline:
            _end(process, job.grace_seconds)
            return (
                "timeout",
                f"ran past its runtime of {job.runtime_seconds} s and was stopped; ask for more runtime",
            )


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to the container's processes, then SIGKILL; apptainer's own end takes the PID namespace with it."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 30.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
            return
        except ProcessLookupError:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
