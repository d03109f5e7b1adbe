"""One job step by srun, and signals handed on to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Dict, List, Mapping, Optional, Sequence

from .files import Clock, Job
from .mailbox import Stop
from .place import Place

# Of the job's environment a step gets what names the job; what the site set as defaults for srun
# (SLURM_MEM_PER_NODE beside --mem is an error, SLURM_EXPORT_ENV=NONE takes PATH away) it does not.
_KEPT = ("SLURM_JOB", "SLURM_ARRAY_", "SLURM_CONF", "SLURM_CLUSTER_NAME", "SLURM_NODELIST",
         "SLURM_NNODES", "SLURM_TASKS_PER_NODE", "SLURMD_NODENAME", "SLURM_RESTART_COUNT",
         "SLURM_SUBMIT_", "SLURM_TOPOLOGY_", "SLURM_JWT", "LD_LIBRARY_PATH")  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/slurm/bin"
# Ten minutes, as long as a site gives for staging by default.
_PAUSES = (1.0, 2.0, 4.0, 8.0, *(15.0,) * 40)
_ALONE_AFTER = 10  # sruns that failed before the outputs are uploaded without one: two minutes
_LOOK_AGAIN = 0.05
_IMMEDIATE = 2  # seconds that srun may take to get its step
_CANCEL_SECONDS = 8.0
HANDED_ON = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


def step_environment(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the environment of srun, which hands it on to the step."""
    kept = {name: value for name, value in environ.items() if name.startswith(_KEPT)}
    path = environ.get("PATH", "")
    return {**kept, "PATH": f"{path}:{_PATH}" if path else _PATH, "LANG": "C.UTF-8"}


def arguments(job: Job, job_file: str, n: int, phase: str, *, packed: bool = False) -> List[str]:
    """Return the command of a step under srun: one task with all CPUs of the container and its memory; run, one on each node.

    The run step alone holds GPUs. srun waits for all of its tasks, whatever the site's own rule is.
    The steps come one after the other: `--overlap` says that one need not wait for what the one
    before it held. A slurmctld that was restarted calls nodes busy until they have answered it;
    without `--immediate` srun then sleeps for SlurmctldTimeout, two minutes by default.

    Of containers that are `packed` into one task each runs on CPUs and memory of its own: their run steps do
    not overlap. The name of a step says whose it is.
    """
    sharing = ["--exact"] if packed else []
    if not (packed and phase == "run"):
        sharing.append("--overlap")
    memory = f"{job.run_memory_mb}M" if phase == "run" and job.run_memory_mb else "0"
    nodes = job.nodes if phase == "run" else 1
    return [
        job.srun,
        f"--ntasks={nodes}",
        f"--nodes={nodes}",
        *_layout(job, nodes),
        *_gpus(job, phase),
        f"--cpus-per-task={job.cpus}",
        f"--job-name={phase}-{n}" if packed else f"--job-name={phase}",
        f"--mem={memory}",
        "--export=ALL",
        "--input=none",
        "--mpi=none",
        *sharing,
        f"--immediate={_IMMEDIATE}",
        *step_arguments(job, job_file, n, phase),
    ]


def _layout(job: Job, nodes: int) -> List[str]:
    if job.nodes == 1:
        return []
    if nodes == 1:
        return ["--relative=0"]
    return ["--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=0"]


def _gpus(job: Job, phase: str) -> List[str]:
    if not job.gpus:
        return []
    return [f"--gpus-per-task={job.gpus}" if phase == "run" else "--gres=none"]


def step_arguments(job: Job, job_file: str, n: int, phase: str) -> List[str]:
    """Return the command of a step itself."""
    return [job.python, "-I", job.agent, "step", phase, job_file, str(job.submission), str(n)]


class Steps:
    """Runs steps, one at a time, and tells the present one when it shall end. For the main thread.

    srun hands SIGUSR1 and SIGUSR2 on to its task; at a SIGTERM it kills the step at once. So USR1 says
    time limit, USR2 canceled, and TERM comes only when the step does not obey.
    """

    def __init__(
        self,
        job: Job,
        job_file: str,
        n: int,
        place: Place,
        environ: Mapping[str, str],
        stop: Stop,
        clock: Clock = time.monotonic,
        pauses: Sequence[float] = _PAUSES,
        *,
        packed: bool = False,
    ) -> None:
        self._job = job
        self._packed = packed
        self._pauses = pauses
        self._job_file = job_file
        self._n = n
        self._place = place
        self._environ = step_environment(environ)
        self._stop = stop
        self._clock = clock
        self._child: Optional[subprocess.Popen[bytes]] = None
        self._phase = ""
        self._told: Dict[int, float] = {}

    def listen(self) -> None:
        """Take Slurm's signals."""

        def on_limit(*_: object) -> None:
            self._stop.timeout = True
            self._hand_on()

        def on_cancel(*_: object) -> None:
            self._stop.canceled = True
            self._hand_on()

        signal.signal(signal.SIGUSR1, on_limit)
        signal.signal(signal.SIGTERM, on_cancel)
        signal.signal(signal.SIGINT, on_cancel)
        signal.signal(signal.SIGALRM, lambda *_: self._hand_on())
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, HANDED_ON
        )  # blocked by who started several of us

    def run(self, phase: str) -> int:
        """Run the step of a phase to its end; return srun's exit code.

        A step that did not begin (the controller was away, say) is tried again for some minutes; outputs
        are then uploaded without srun rather than not at all, only Slurm does not see that step.

        Raises
        ------
        Stopped
            When the job shall end and no step is running.
        OSError
            When srun cannot be started.
        """
        command = arguments(self._job, self._job_file, self._n, phase, packed=self._packed)
        for attempt, pause in enumerate((*self._pauses, None)):
            self._check(phase)
            if phase == "stage-out" and attempt == _ALONE_AFTER:
                print("stage-out: going on without srun", file=sys.stderr, flush=True)
                command = step_arguments(self._job, self._job_file, self._n, phase)
            for rank in self._place.ranks:
                self._place.begun_file(phase, rank).unlink(missing_ok=True)
            self._phase, self._told = phase, {}
            self._child = subprocess.Popen(command, env=self._environ, stdin=subprocess.DEVNULL)
            self._hand_on()
            code = self._child.wait()
            self._child = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            if code == 0 or any(self._place.begun(phase)) or pause is None:
                return 128 - code if code < 0 else code
            self._check(phase)
            print(
                f"{phase}: srun ended with {code}, again in {pause:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            self._stop_pause(pause, phase)
        raise AssertionError("not reached")

    def _check(self, phase: str) -> None:
        # The time limit does not keep outputs from being uploaded, as long as there is time.
        if self._stop.canceled or phase != "stage-out":
            self._stop.check()

    def _stop_pause(self, seconds: float, phase: str) -> None:
        end = self._clock() + seconds
        while self._clock() < end:
            self._check(phase)
            time.sleep(0.1)

    def _hand_on(self) -> None:
        """Tell the step what it has not been told yet; runs in signal handlers."""
        child = self._child
        if child is None or self._phase == "":
            return
        wanted: Optional[int] = None
        if self._stop.canceled:
            wanted = signal.SIGUSR2
        elif self._stop.timeout and self._phase != "stage-out":
            wanted = signal.SIGUSR1
        if wanted is None:
            return
        now = self._clock()
        since = self._told.get(wanted)
        if since is None:
            if not all(self._place.begun(self._phase)) and not self._overdue(now):
                signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN)  # it does not listen yet
                return
            self._told[wanted] = now
            self._send(child, wanted)
            if wanted == signal.SIGUSR2:
                signal.setitimer(signal.ITIMER_REAL, _CANCEL_SECONDS)
        elif wanted == signal.SIGUSR2 and now - since >= _CANCEL_SECONDS - 0.1:
            self._send(child, signal.SIGTERM)

    def _overdue(self, now: float) -> bool:
        return now - self._told.setdefault(0, now) > _CANCEL_SECONDS

    @staticmethod
    def _send(child: subprocess.Popen[bytes], number: int) -> None:
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            return
