"""A task of a Slurm job as a process; scripts stand for srun and apptainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.agent.site import Site

# Runs the step in its place, as srun does for one task on this node; or does as the file says.
SRUN = """#!/bin/sh
echo "$*" >> "{work}/srun-calls"
while case "$1" in --job-name=*) phase=${{1#*=}};; esac; case "$1" in -*) true;; *) false;; esac; do shift; done
[ ! -e "{work}/srun-$phase" ] || . "{work}/srun-$phase"
exec "$@"
"""
# Does what the entrypoint says; of the mounts it makes variables.
APPTAINER = """#!/bin/sh
if [ "$1" = build ]; then
  for word; do target=$last; last=$word; done
  [ ! -e "{work}/no-image" ] || {{ echo "FATAL:   manifest unknown"; exit 255; }}
  echo sif > "$target"
  exit
fi
while case "$1" in *.sif) false;; esac; do
  case "$1" in *:/input_files:ro) IN=${{1%%:*}};; *:/output_files) OUT=${{1%%:*}};; esac
  shift
done
shift
export IN OUT
exec "$@"
"""
MAIN = "from ctsagent.main import main\n\nraise SystemExit(main())\n"


class Ended:
    """A task that has ended."""

    def __init__(self, code: int, printed: str, result: dict[str, Any] | None) -> None:
        self.code = code
        self.printed = printed
        self.result = result or {}

    @property
    def outcome(self) -> tuple[str, int | None]:
        return self.result["outcome"], self.result["exit_code"]

    @property
    def error(self) -> str:
        return str(self.result["error"])


class Task:
    """Task 0 of a Slurm job: its batch script as a process."""

    def __init__(self, site: Site, agent: Path) -> None:
        self.site = site
        work = site.work
        (work / "bin").mkdir()
        (work / "agent").symlink_to(agent)
        for name, text in (("srun", SRUN), ("apptainer", APPTAINER)):
            (work / "bin" / name).write_text(text.format(work=work))
            (work / "bin" / name).chmod(0o755)
        site.job_json["python"] = sys.executable
        self.inputs = [site.input(b"hello", "a.txt")]
        self.generated: list[dict[str, str]] = []
        self._process: subprocess.Popen[str] | None = None

    def srun(self, phase: str, script: str) -> None:
        """Have srun do something instead of, or before, a phase."""
        (self.site.work / f"srun-{phase}").write_text(script + "\n")

    def start(self, script: str, **job: Any) -> subprocess.Popen[str]:
        """Start the batch script of a job whose container runs this shell script."""
        environ, raw = job.pop("environ", {}), job.pop("raw", {})
        containers, attempt = job.pop("containers", 1), job.pop("attempt", 1)
        number = job.pop("number", 0)
        self.site.submission(
            number,
            containers=list(range(containers)),
            per_task=containers,
            **job.pop("submission", {}),
        )
        self.site.job(**job)
        (self.site.job_dir / "job.json").write_text(json.dumps(self.site.job_json | raw))
        inputs = [i._asdict() for i in self.inputs]
        for index in range(containers):
            self.site.container(
                index, args=[script], inputs=inputs, attempt=attempt, generated=self.generated
            )
        slurm = {
            "SLURM_JOB_ID": str(77 + number),
            "SLURMD_NODENAME": "n1",
            "PATH": os.environ["PATH"],
            **environ,
        }
        argv = [sys.executable, "-I", str(self.site.work / "agent"), "batch"]
        argv += [str(self.site.job_dir / "job.json"), str(number)]
        self._process = subprocess.Popen(
            argv, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self._process

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, once it was started."""
        assert self._process is not None
        return self._process

    def end(self) -> Ended:
        assert self._process is not None
        printed, _ = self._process.communicate(timeout=60)
        result = self.site.base / "result.json"
        assert "Signature" not in printed
        return Ended(
            self._process.returncode,
            printed,
            json.loads(result.read_text()) if result.exists() else None,
        )

    def run(self, script: str, **job: Any) -> Ended:
        self.start(script, **job)
        return self.end()

    def result_of(self, index: int) -> dict[str, Any]:
        """Return what a container has left."""
        found: dict[str, Any] = json.loads(
            (self.site.job_dir / str(index) / "result.json").read_text()
        )
        return found

    def when(self, path: str) -> None:
        """Wait until a file of the container is there."""
        deadline = time.monotonic() + 30
        while not (self.site.base / path).exists():
            assert time.monotonic() < deadline, f"{path} did not appear"
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
