"""The three job steps, each a process of its own under srun: stage-in, run, stage-out.

A step says how it ended in a file of its own; the batch process composes result.json of them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional

from .files import (
    Container,
    ContractError,
    Job,
    StepResult,
    read_container,
    read_job,
    redact,
    write_json,
)
from .generated import write_generated
from .mailbox import Mailbox, Stop, Stopped
from .place import FULL, Place, Slurm, is_full, read_slurm

_PROGRESS_SECONDS = 2.0


class Step:
    """What all three know."""

    def __init__(
        self, phase: str, job: Job, n: int, slurm: Slurm, environ: Mapping[str, str]
    ) -> None:
        self.phase = phase
        self.environ = environ
        self.job = job
        self.n = n
        self.slurm = slurm
        self.place = Place(job, n, slurm)
        self.stop = Stop()
        # One for all threads of the step: each request has a number of its own.
        self.mailbox = Mailbox(job, n, slurm, self.place, phase)

    def container(self) -> Container:
        """Read container.json."""
        return read_container(self.place.base / "container.json")

    def listen(self) -> None:
        """Take signals: USR1 is the time limit, USR2 (by way of srun) and TERM are a cancellation.

        A SIGTERM sent to srun would have it kill the step, hence USR2. The time limit is no reason
        to end stage-out: that is what the time before it is for.
        """

        def on_limit(*_: object) -> None:
            self.stop.timeout = self.phase != "stage-out"

        def on_cancel(*_: object) -> None:
            self.stop.canceled = True

        signal.signal(signal.SIGUSR1, on_limit)
        signal.signal(signal.SIGUSR2, on_cancel)
        signal.signal(signal.SIGTERM, on_cancel)
        signal.signal(signal.SIGINT, on_cancel)
        self.place.begin(self.phase)


class Progress:
    """Counts bytes and shows them in status.json, at most every two seconds."""

    def __init__(self, place: Place, total: int) -> None:
        self.done = 0
        self._total = total
        self._file = place.base / "status.json"
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._shown = 0

    def add(self, count: int) -> None:
        """Count bytes. Thread-safe."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            passed = now - self._last
            if passed < _PROGRESS_SECONDS:
                return
            self._write((self.done - self._shown) / passed)
            self._last, self._shown = now, self.done

    def _write(self, rate: float) -> None:
        import json  # noqa: PLC0415 - imported long ago

        try:
            status = json.loads(self._file.read_bytes())
            status.update(bytes_done=self.done, bytes_total=self._total, bytes_per_second=int(rate))
            write_json(self._file, status)
        except (OSError, ValueError):
            return  # for people who watch; a full disk shows elsewhere


def step(
    phase: str, job_file: str, k: int, n: int, environ: Optional[Dict[str, str]] = None
) -> int:
    """Do one phase of container `n` in submission `k`; return the exit code of the step (the container's for run)."""
    os.umask(0o077)
    job = read_job(Path(job_file), k)
    environ = dict(os.environ) if environ is None else environ
    me = Step(phase, job, n, read_slurm(environ), environ)
    me.listen()
    try:
        result = _PHASES[phase](me)
    except Stopped as exc:
        result = StepResult(exc.reason, error=_why_stopped(phase, exc.reason))
    except ContractError as exc:
        result = StepResult("agent-failed", error=str(exc))
    except Exception as exc:  # noqa: BLE001 - the last line: whatever it is is told
        result = StepResult("agent-failed", error=explain(exc))
    _write(me.place, phase, result)
    # Threads that still transfer something for a phase that failed are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    code = result.exit_code if result.exit_code else (0 if result.outcome == "ok" else 1)
    os._exit(code)


def _write(place: Place, phase: str, result: StepResult) -> None:
    """Write how a step ended, on a full disk in the room that was kept for it; the batch process makes something of silence."""
    for _ in range(2):
        try:
            result.write(place.step_file(phase))
        except OSError as exc:
            print(f"{phase}: {result.error or result.outcome}, and {exc}", file=sys.stderr)
            place.make_room([place.rank])
        else:
            return


def explain(exc: BaseException) -> str:
    """Print the traceback of an unexpected error, without secrets; return a sentence."""
    import traceback  # noqa: PLC0415 - 10 ms, for errors alone

    print(
        redact("".join(traceback.format_exception(type(exc), exc, exc.__traceback__))),
        file=sys.stderr,
    )
    if isinstance(exc, OSError):
        name = f" ({exc.filename})" if exc.filename else ""
        return redact(f"the node agent failed: {exc.strerror or exc}{name}")
    return redact(f"the node agent failed: {type(exc).__name__}: {exc}")[:1000]


def _why_stopped(phase: str, reason: str) -> str:
    doing = {"stage-in": "its inputs were fetched", "stage-out": "its outputs were uploaded"}
    while_ = f" while {doing[phase]}" if phase in doing else ""
    if reason == "timeout":
        return f"Slurm's time limit of the job came{while_}"
    return f"the job was canceled{while_}"


def _stage_in(me: Step) -> StepResult:
    from .image import ensure, login, sif_path  # noqa: PLC0415 - each step loads its own
    from .image_build import ImageError  # noqa: PLC0415

    container = me.container()
    try:
        write_generated(me.place.inputs, (*me.job.generated, *container.generated))
    except OSError as error:
        why = f"the inputs cannot be written: {error.strerror}"
        return StepResult("stage-in-failed", error=why)
    progress = Progress(me.place, sum(item.size for item in container.inputs))
    cached: List[bool] = []
    errors: List[BaseException] = []

    def image() -> None:
        try:
            ask = partial(login, me.mailbox, image_stop)
            cached.append(ensure(me.job, me.place.pull, image_stop, say=_say, ask=ask))
        except BaseException as exc:  # noqa: BLE001 - raised again by the main thread
            errors.append(exc)
            me_stop.failed = True

    # Either side ends the other when it fails.
    me_stop, image_stop = _Linked(me.stop), _Linked(me.stop)
    thread: Optional[threading.Thread] = None
    if not sif_path(me.job).exists():
        thread = threading.Thread(target=image, daemon=True)
        thread.start()
    try:
        failure = _download(me, container, me_stop, progress.add)
        if failure is not None:
            image_stop.failed = True
    finally:
        _join(thread, None if image_stop.failed else me.stop)
    if thread is None:
        image()
    for exc in errors:
        if isinstance(exc, ImageError):
            return StepResult("image-failed", error=str(exc), transferred=progress.done)
        if not isinstance(exc, Stopped) or failure is None:
            raise exc
    if failure is not None:
        return StepResult("stage-in-failed", error=failure, transferred=progress.done)
    return StepResult("ok", transferred=progress.done, image_cached=bool(cached and cached[0]))


class _Linked(Stop):
    """A Stop that also ends when the other half of the phase failed."""

    def __init__(self, outer: Stop) -> None:
        super().__init__()
        self.failed = False
        self._outer = outer

    @property
    def reason(self) -> Optional[str]:
        """As the outer one says, or `failed`."""
        return self._outer.reason or ("failed" if self.failed else None)


def _join(thread: Optional[threading.Thread], stop: Optional[Stop]) -> None:
    # A join with a time-out lets signal handlers run. The other half ends soon once it is told to.
    patience = 30.0
    while thread is not None and thread.is_alive() and patience > 0:
        thread.join(0.2)
        if stop is None or stop.reason is not None:
            patience -= 0.2


def _download(
    me: Step, container: Container, stop: _Linked, progress: Callable[[int], None]
) -> Optional[str]:
    """Fetch the inputs; return what went wrong."""
    if not container.inputs:
        return None
    from .download import Downloader, StageInError  # noqa: PLC0415 - http and ssl are slow to import

    try:
        Downloader(me.job, me.place, me.mailbox, stop, progress).fetch(container.inputs)
    except StageInError as exc:
        return redact(str(exc))
    except Stopped as exc:
        if exc.reason != "failed":
            raise
    return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(me: Step) -> StepResult:
    from .container import ContainerError, command, lacks_image, lacks_workdir  # noqa: PLC0415 - each step loads its own
    from .image import ensure, login, sif_path  # noqa: PLC0415
    from .image_build import ImageError  # noqa: PLC0415
    from .nodes import handed_on  # noqa: PLC0415
    from .processes import oom_kills  # noqa: PLC0415
    from .run import Limits, Runner  # noqa: PLC0415

    job, place = me.job, me.place
    ask = partial(login, me.mailbox, me.stop)
    me.stop.check()
    try:
        ensure(job, place.pull, me.stop, say=_say, ask=ask)
        place.pull.mkdir(mode=0o700, exist_ok=True)
        container, sif = me.container(), sif_path(job)
        slurm = handed_on(job, me.environ)
        what = command(job, container, place, sif, slurm=slurm)
    except ImageError as exc:
        return StepResult("image-failed", error=str(exc))
    except ContainerError as exc:
        return StepResult("container-failed", error=str(exc))
    limits = Limits(job.runtime_seconds, job.grace_seconds, job.max_log_size)
    logs = place.log("stdout"), place.log("stderr")
    before = oom_kills()
    try:
        ended = Runner(what, limits, me.stop).run(*logs)
        if lacks_image(ended.status, ended.tail):  # removed in this moment: nothing has run yet
            ensure(job, place.pull, me.stop, say=_say, ask=ask)
            ended = Runner(what, limits, me.stop).run(*logs)
        if lacks_workdir(ended.status, ended.tail):
            what = command(job, container, place, sif, make_workdir=True, slurm=slurm)
            ended = Runner(what, limits, me.stop).run(*logs)
    except ImageError as exc:
        return StepResult("image-failed", error=str(exc))
    except OSError as exc:
        return StepResult("container-failed", error=_cannot_start(job, exc))
    after = oom_kills()
    killed = before is not None and after is not None and after > before
    from .verdict import judge  # noqa: PLC0415

    return judge(job, ended, memory_ran_out=killed, disk_full=is_full(place.outputs))


def _cannot_start(job: Job, exc: OSError) -> str:
    import errno  # noqa: PLC0415

    if exc.errno == errno.E2BIG:
        return (
            "the arguments or an environment variable of the container are too long for a process "
            "(Linux takes 131071 bytes each)"
        )
    if exc.errno in FULL:
        return "the disk is full: the container's log files cannot be made"
    return f"{exc.filename or job.apptainer} cannot be used: {exc.strerror}"


def _stage_out(me: Step) -> StepResult:
    from .outputs import OutputError, scan  # noqa: PLC0415 - each step loads its own

    try:
        found = scan(me.place.outputs, me.job.output_mount_point)
    except OutputError as exc:
        return StepResult("stage-out-failed", error=str(exc))
    if not found:
        return StepResult("ok")
    from .upload import Uploader  # noqa: PLC0415 - http and ssl are slow to import

    progress = Progress(me.place, sum(file.size for file in found))
    uploader = Uploader(me.job, me.mailbox, me.stop, progress.add)
    outcome: str = "ok"
    error: Optional[str] = None
    try:
        uploader.send(found)
    except Stopped as exc:
        outcome, error = exc.reason, _why_stopped(me.phase, exc.reason)
    except OSError as exc:
        outcome, error = "stage-out-failed", f"the outputs cannot be read: {exc.strerror}"
    if uploader.errors:
        outcome, error = "stage-out-failed", redact(uploader.errors[0])
        if len(uploader.errors) > 1:
            error += f" (and {len(uploader.errors) - 1} more, see the job's log)"
    outputs = tuple(sorted(uploader.outputs, key=lambda output: output.path))
    return StepResult(outcome, error=error, transferred=progress.done, outputs=outputs)


_PHASES: Dict[str, Callable[[Step], StepResult]] = {
    "stage-in": _stage_in,
    "run": _run,
    "stage-out": _stage_out,
}
