"""The three phases of a container, each a Slurm job step and a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import List

from .files import Container, ContractError, Job, StepResult, read_container, read_job, read_step
from .mailbox import Mailbox, Stop, Stopped
from .place import Place, Slurm, read_slurm


def step(phase: str, job_file: str, n: int) -> int:
    """Run one phase of container `n`; its result is in the step file, the exit code is 0 or 1."""
    os.umask(0o077)
    stop = Stop()
    signal.signal(signal.SIGUSR1, lambda *_: setattr(stop, "timeout", True))
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "canceled", True))
    job = read_job(Path(job_file))
    slurm = read_slurm(os.environ)
    place = Place(job, n, slurm)
    try:
        container = read_container(place.base / "container.json")
        mailbox = Mailbox(job, n, slurm, place, phase)
        if phase == "stage-in":
            result = _stage_in(job, container, place, mailbox, stop)
        elif phase == "run":
            from .container import run  # noqa: PLC0415 - each step imports what it needs alone

            result = run(job, container, place, stop)
        else:
            result = _stage_out(job, place, mailbox, stop)
    except Stopped as exc:
        what = "Slurm's time limit was near" if exc.reason == "timeout" else "the job was canceled"
        result = StepResult(exc.reason, error=f"{what} during {phase}")
    except ContractError as exc:
        result = StepResult("agent-failed", error=str(exc))
    except Exception as exc:  # noqa: BLE001 - whatever it is, the batch process must learn of it
        traceback.print_exc(file=sys.stderr)
        result = StepResult(
            "agent-failed", error=f"the node agent failed in {phase}: {type(exc).__name__}"
        )
    result.write(place.step_file(phase))
    return 0 if result.outcome == "ok" else 1


def _stage_in(
    job: Job, container: Container, place: Place, mailbox: Mailbox, stop: Stop
) -> StepResult:
    from .download import Downloader, StageInError  # noqa: PLC0415
    from .image import ImageError, ensure_image  # noqa: PLC0415

    moved = [0]
    cached = [False]
    trouble: List[str] = []
    image_stop = Stop()

    def image() -> None:
        try:
            cached[0] = ensure_image(job, place, image_stop)[1]
        except (ImageError, OSError) as exc:
            trouble.append(str(exc))
        except Stopped:
            pass

    puller = threading.Thread(target=image, name="image")
    puller.start()
    try:
        Downloader(job, place, mailbox, stop, _adder(moved)).fetch(container.inputs)
        while puller.is_alive():
            puller.join(0.05)
            stop.check()
    except StageInError as exc:
        image_stop.canceled = True
        return StepResult("stage-in-failed", error=str(exc), transferred=moved[0])
    except Stopped:
        image_stop.canceled = True
        raise
    finally:
        puller.join()
    if trouble:
        return StepResult("image-failed", error=trouble[0], transferred=moved[0])
    return StepResult("ok", transferred=moved[0], image_cached=cached[0])


def _stage_out(job: Job, place: Place, mailbox: Mailbox, stop: Stop) -> StepResult:
    from .outputs import OutputError, scan  # noqa: PLC0415
    from .upload import Uploader  # noqa: PLC0415

    moved = [0]
    try:
        files = scan(place.outputs, job.output_mount_point)
    except OutputError as exc:
        return StepResult("stage-out-failed", error=str(exc))
    uploader = Uploader(job, mailbox, stop, _adder(moved))
    uploader.send(files)
    outputs = tuple(sorted(uploader.outputs, key=lambda output: output.path))
    if uploader.errors:
        return StepResult(
            "stage-out-failed", error=uploader.errors[0], transferred=moved[0], outputs=outputs
        )
    return StepResult("ok", transferred=moved[0], outputs=outputs)


def _adder(total: List[int]) -> "_Adder":
    return _Adder(total)


class _Adder:
    """Counts bytes; called from many threads."""

    def __init__(self, total: List[int]) -> None:
        self._total = total
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._total[0] += count


def result_of(place: Place, phase: str, code: int) -> StepResult:
    """Return what a step left behind; one that left nothing was killed."""
    try:
        return read_step(place.step_file(phase))
    except (OSError, ContractError):
        pass
    if phase == "run":
        return StepResult(
            "container-failed", 137, 9, "the container was killed before it could end by itself"
        )
    return StepResult(
        f"{phase}-failed",
        error=f"{phase} was killed (exit code {code}) before it could end by itself",
    )


def describe_slurm(slurm: Slurm) -> str:
    """Return a line for the log of the batch script."""
    return f"cts: Slurm job {slurm.owner}_{slurm.task} ({slurm.job_id}) on {slurm.host}"
