"""Where a container's files are, and who the Slurm job is that runs it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Mapping, NamedTuple, Optional

from .files import Job

PHASES = ("stage-in", "run", "stage-out")


class Slurm(NamedTuple):
    """What Slurm tells a task about itself; `owner` is the id of the array as a whole."""

    job_id: str
    owner: str
    task: int
    restarts: int
    host: str


def read_slurm(environ: Mapping[str, str]) -> Slurm:
    """Read the environment of a batch script or a job step (sbatch(1), OUTPUT ENVIRONMENT)."""
    job_id = environ.get("SLURM_JOB_ID", "0")
    return Slurm(
        job_id=job_id,
        owner=environ.get("SLURM_ARRAY_JOB_ID") or job_id,
        task=int(environ.get("SLURM_ARRAY_TASK_ID") or 0),
        restarts=int(environ.get("SLURM_RESTART_COUNT") or 0),
        host=environ.get("SLURMD_NODENAME") or os.uname().nodename,
    )


class Place:
    """The directories of container `n`: `base` on the shared file system, `work` perhaps on scratch."""

    def __init__(self, job: Job, n: int, slurm: Slurm) -> None:
        self.base = job.job_dir / str(n)
        self.scratch: Optional[Path] = None
        if job.scratch:
            self.scratch = Path(job.scratch) / f"cts-{job.job_id}-{n}-{slurm.job_id}"
        self.work = self.scratch or self.base
        self.inputs = self.work / "in"
        self.outputs = self.work / "out"
        self.tmp = self.work / "tmp"
        self.partial = self.work / ".part"
        self.pull = self.work / ".pull"
        self.grants = self.base / "grants"

    def step_file(self, phase: str) -> Path:
        """Return where a step says how it ended."""
        return self.base / f".step-{phase}.json"

    def begun_file(self, phase: str) -> Path:
        """Return what a step makes when it listens to signals."""
        return self.base / f".begun-{phase}"

    def clean_start(self) -> None:
        """Remove what an earlier run left and make the directories (0700).

        Raises
        ------
        PermissionError
            When the scratch directory of this container belongs to somebody else.
        """
        for name in ("in", "out", "tmp", ".part", ".pull"):
            remove_tree(self.base / name)
        for phase in PHASES:
            self.step_file(phase).unlink(missing_ok=True)
            self.begun_file(phase).unlink(missing_ok=True)
        for name in ("result.json", "status.json", "stdout", "stderr"):
            (self.base / name).unlink(missing_ok=True)
        self.grants.mkdir(mode=0o700, exist_ok=True)
        for entry in self.grants.iterdir():
            entry.unlink(missing_ok=True)
        if self.scratch is not None:
            remove_tree(self.scratch)
            self.scratch.mkdir(mode=0o700)
            found = self.scratch.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise PermissionError(f"{self.scratch} belongs to somebody else")
        for folder in (self.inputs, self.outputs, self.tmp, self.partial):
            folder.mkdir(mode=0o700)

    def clean_end(self, *, keep_outputs: bool) -> None:
        """Free the space; outputs that were not uploaded move to the shared file system."""
        if self.scratch is not None:
            if keep_outputs and any(self.outputs.iterdir()):
                _copy_files(self.outputs, self.base / "out")
            remove_tree(self.scratch)
            return
        for folder in (self.inputs, self.tmp, self.partial, self.pull):
            remove_tree(folder)
        if not keep_outputs:
            remove_tree(self.outputs)


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
