"""Where a container's files are, and who the Slurm job is that runs it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Iterable, List, Mapping, NamedTuple, Optional

from .files import Job

PHASES = ("stage-in", "run", "stage-out")
FULL = (errno.ENOSPC, errno.EDQUOT)  # what a full disk, or a used up quota, says
_ROOM = 16 << 10  # bytes
_FULL = 1 << 20  # bytes free: programs write in pieces of up to that


class Slurm(NamedTuple):
    """What Slurm tells a task about itself; `owner` is the id of the array as a whole, `rank` counts a step's tasks."""

    job_id: str
    owner: str
    task: int
    restarts: int
    host: str
    rank: int = 0


def read_slurm(environ: Mapping[str, str]) -> Slurm:
    """Read the environment of a batch script or a job step (sbatch(1), OUTPUT ENVIRONMENT)."""
    job_id = environ.get("SLURM_JOB_ID", "0")
    return Slurm(
        job_id=job_id,
        owner=environ.get("SLURM_ARRAY_JOB_ID") or job_id,
        task=int(environ.get("SLURM_ARRAY_TASK_ID") or 0),
        restarts=int(environ.get("SLURM_RESTART_COUNT") or 0),
        host=environ.get("SLURMD_NODENAME") or os.uname().nodename,
        rank=int(environ.get("SLURM_PROCID") or 0),
    )


def _suffix(rank: int) -> str:
    return f"-{rank}" if rank else ""


class Place:
    """The directories of container `n`: `base` on the shared file system, `work` perhaps on scratch.

    Where a container has several nodes, each has what must not be shared: the first has the names that one node has.
    """

    def __init__(self, job: Job, n: int, slurm: Slurm) -> None:
        self.ranks = range(job.nodes)
        self.rank = slurm.rank if slurm.rank in self.ranks else 0
        self.base = job.job_dir / str(n)
        self.scratch: Optional[Path] = None
        if job.scratch:
            self.scratch = Path(job.scratch) / f"cts-{job.job_id}-{n}-{slurm.job_id}"
        self.work = self.scratch or self.base
        self.inputs = self.work / "in"
        self.outputs = self.work / "out"
        self.tmp = self.work / f"tmp{_suffix(self.rank)}"
        self.partial = self.work / ".part"
        self.pull = self.work / f".pull{_suffix(self.rank)}"
        self.grants = self.base / "grants"

    def step_file(self, phase: str, rank: Optional[int] = None) -> Path:
        """Return where a step says how it ended, on this node or on that of a rank."""
        return self.base / f".step-{phase}{_suffix(self.rank if rank is None else rank)}.json"

    def begun_file(self, phase: str, rank: Optional[int] = None) -> Path:
        """Return what a step makes when it listens to signals, on this node or on that of a rank."""
        return self.base / f".begun-{phase}{_suffix(self.rank if rank is None else rank)}"

    def begin(self, phase: str) -> None:
        """Make what tells that a step listens: with room in it for what the step will have to say, should the disk be full by then."""
        handle = os.open(self.begun_file(phase), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as file, contextlib.suppress(OSError):
            file.write(os.urandom(_ROOM).hex().encode())  # no disk keeps that in less

    def make_room(self, ranks: Iterable[int]) -> None:
        """Give back the room that steps have kept on the nodes of some ranks."""
        for rank in ranks:
            for phase in PHASES:
                with contextlib.suppress(OSError):
                    os.truncate(self.begun_file(phase, rank), 0)

    def begun(self, phase: str) -> List[bool]:
        """Tell of each node whether a step has begun there; those before and after `run` have one."""
        ranks = self.ranks if phase == "run" else self.ranks[:1]
        return [self.begun_file(phase, rank).exists() for rank in ranks]

    def log(self, stream: str, rank: Optional[int] = None) -> Path:
        """Return the file of `stdout` or `stderr`: of the first node by that name, of others with their rank behind it."""
        rank = self.rank if rank is None else rank
        return self.base / (f"{stream}.{rank}" if rank else stream)

    def _own(self, rank: int) -> List[Path]:
        """Return the directories that only the node of a rank uses."""
        return [self.work / f"tmp{_suffix(rank)}", self.work / f".pull{_suffix(rank)}"]

    def clean_start(self, attempt: int = 1) -> None:
        """Remove what an earlier run left and make the directories (0700).

        The logs of an earlier attempt are kept as `stdout.attempt-1` and so on, by its number.

        Raises
        ------
        PermissionError
            When the scratch directory of this container belongs to somebody else.
        """
        for name in ("in", "out", "tmp", ".part", ".pull", ".out-part"):
            remove_tree(self.base / name)
        self._keep_logs(attempt)
        for rank in self.ranks:
            for stream in ("stdout", "stderr"):
                self.log(stream, rank).unlink(missing_ok=True)
        for name in ("result.json", "status.json"):
            (self.base / name).unlink(missing_ok=True)
        self.clean_steps()
        if self.scratch is not None:
            remove_tree(self.scratch)
            self.scratch.mkdir(mode=0o700)
            found = self.scratch.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise PermissionError(f"{self.scratch} belongs to somebody else")
        for folder in (self.inputs, self.outputs, self.tmp, self.partial):
            folder.mkdir(mode=0o700)
        for rank in self.ranks[1:]:
            for folder in self._own(rank):
                remove_tree(folder)
                folder.mkdir(mode=0o700)

    def clean_steps(self) -> None:
        """Remove what the steps of an earlier run left, its grants among it."""
        for rank in self.ranks:
            for phase in PHASES:
                self.step_file(phase, rank).unlink(missing_ok=True)
                self.begun_file(phase, rank).unlink(missing_ok=True)
        self.grants.mkdir(mode=0o700, exist_ok=True)
        for entry in self.grants.iterdir():
            entry.unlink(missing_ok=True)

    def _keep_logs(self, attempt: int) -> None:
        # The file says whose the logs are: those of a run that Slurm requeued are of the same attempt.
        marker = self.base / ".attempt"
        try:
            before = int(marker.read_text(encoding="ascii"))
        except (OSError, ValueError):
            before = attempt
        if before < attempt:
            for name in ("stdout", "stderr"):
                with contextlib.suppress(FileNotFoundError):
                    (self.base / name).replace(self.base / f"{name}.attempt-{before}")
        marker.write_text(str(attempt), encoding="ascii")

    def clean_end(self, *, keep_outputs: bool) -> None:
        """Free the space; outputs that were not uploaded move to the shared file system, all of them or none.

        Raises
        ------
        OSError
            When they cannot; they stay on the node then.
        """
        for entry in self.grants.iterdir():  # an answer to what was asked twice
            entry.unlink(missing_ok=True)
        if self.scratch is not None:
            if keep_outputs and self.outputs.is_dir() and any(self.outputs.iterdir()):
                self._keep_outputs()
            remove_tree(self.scratch)
            return
        own = [folder for rank in self.ranks for folder in self._own(rank)]
        for folder in (self.inputs, self.partial, *own):
            remove_tree(folder)
        if not keep_outputs:
            remove_tree(self.outputs)

    def _keep_outputs(self) -> None:
        partial = self.base / ".out-part"
        try:
            remove_tree(partial)
            _copy_files(self.outputs, partial)
            partial.rename(self.base / "out")
        except OSError:
            remove_tree(partial)
            raise


def is_full(folder: Path) -> bool:
    """Tell whether the disk of a directory takes no more; of a quota nothing is known."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _FULL


def _copy_files(source: Path, target: Path) -> None:
    # Regular files and links alone: a FIFO would be waited for without end.
    import shutil  # noqa: PLC0415 - slow to import, seldom needed

    target.mkdir(mode=0o700, exist_ok=True)
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            file = Path(folder) / name
            if file.is_symlink() or file.is_file():
                shutil.copyfile(file, there / name, follow_symlinks=False)


def remove_tree(path: Path) -> None:
    """Remove a file or directory, whatever modes a container gave it; no link is followed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        path.unlink()
        return
    if mode & 0o700 != 0o700:
        path.chmod(0o700)
    with os.scandir(path) as entries:
        names = [entry.path for entry in entries]
    for name in names:
        remove_tree(Path(name))
    path.rmdir()
