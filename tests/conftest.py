"""What the tests share: their settings, and the dev cluster as an object."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO, cast

import pytest
import structlog

from tests import settings

CHECKOUT = settings.CHECKOUT
ENDED = ("complete", "error", "canceled")


def pytest_configure(config: pytest.Config) -> None:
    """Log where pytest does not swap files; take signals as in a terminal, nohup and `&` or not: children inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # structlog prints to sys.stdout by default, which pytest exchanges under the threads of daemons.
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Nowhere())),
        cache_logger_on_first_use=False,
    )


class _Nowhere(io.TextIOBase):
    """A file that takes everything."""

    def write(self, text: str, /) -> int:
        return len(text)


@dataclass(frozen=True)
class DevCluster:
    """The dev cluster, driven as its users do: by commands run in it."""

    options: tuple[str, ...]
    registry: str

    def tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run deploy/devcluster."""
        done = subprocess.run(
            [str(CHECKOUT / "deploy/devcluster"), *self.options, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def run(
        self, *argv: str, user: str = "alice", check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the site as a user.

        Other tests may have other sites on at the same time: ctsbatch is told which is the one.
        """
        if "ctsbatch" in argv:
            argv = ("env", "CTS_SITE=dev", *argv)
        done = subprocess.run(
            [
                str(CHECKOUT / "deploy/devcluster"),
                *self.options,
                "exec",
                "--user",
                user,
                "--",
                *argv,
            ],
            capture_output=True,
            text=True,
            input=text,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def image(self, name: str) -> str:
        """Name of a test image, approved."""
        reference = f"{self.registry}/test/{name}:1.0"
        done = self.run("cts", "admin", "image", "approve", reference, user="ada", check=False)
        assert done.returncode == 0 or "50010" in done.stderr, done.stderr
        return reference

    def submit(self, user: str = "alice", **fields: Any) -> str:
        """Submit a job; fields override those of a small one, and None takes one away."""
        job: dict[str, Any] = {
            "cluster": "dev",
            "input_files": ["sample-data/reads/sample-2.txt"],
            "output_dir": f"results/test-{uuid.uuid4().hex}",
            "memory": "50MB",
            "runtime": 120,
        }
        given = {key: value for key, value in (job | fields).items() if value is not None}
        return self.run("cts", "submit", "-", user=user, text=json.dumps(given)).stdout.strip()

    def job(self, job_id: str, user: str = "alice") -> dict[str, Any]:
        """A job as JSON."""
        found: dict[str, Any] = json.loads(
            self.run("cts", "show", "--json", job_id, user=user).stdout
        )
        return found

    def containers(self, job_id: str) -> list[dict[str, Any]]:
        """A job's containers as JSON."""
        text = self.run(
            *("curl", "-s", "--unix-socket", "/run/cts/cts.sock"),
            f"http://cts/jobs/{job_id}/containers",
        ).stdout
        found: list[dict[str, Any]] = json.loads(text)["containers"]
        return found

    def release(self, job_id: str) -> None:
        """Let Slurm start a requeued job now; it waits two minutes by itself."""
        for slurm in self.job(job_id)["slurm_jobs"]:
            tasks = self.run("squeue", "-h", "-r", "-t", "PD", "-j", slurm, "-o", "%i", user="root")
            for task in tasks.stdout.split():
                self.run("scontrol", "update", f"jobid={task}", "starttime=now", user="root")

    def finish(self, job_id: str, user: str = "alice") -> dict[str, Any]:
        """Wait for a job's end and return it."""
        self.run("cts", "wait", "--timeout", "240", job_id, user=user, check=False)
        job = self.job(job_id, user)
        assert job["state"] in ENDED, job
        return job

    def until(self, what: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)

    def objects(self, output_dir: str) -> dict[str, int]:
        """Objects below an output directory: path and size."""
        bucket, _, prefix = output_dir.partition("/")
        text = self.run(
            "aws", "s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix
        ).stdout
        rows = json.loads(text or "{}").get("Contents", [])
        return {row["Key"].removeprefix(prefix): row["Size"] for row in rows}


@pytest.fixture(scope="session", autouse=True)
def kept_where_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep temporary directories where test.cfg says so; else each is removed with its test."""
    if settings.load().keep_temporary:
        tmp_path_factory._retention_policy = "all"


@pytest.fixture(scope="session")
def site() -> DevCluster:
    """The dev cluster of $CTS_CLUSTER or test.cfg, as deploy/devcluster finds it, which `make test` has brought up."""
    facts = json.loads(DevCluster((), "").tool("env").stdout)
    # By name: tests also run it from programs that have another environment.
    options = ("--name", facts["name"], "--cache", facts["cache"])
    return DevCluster(options, facts["registry"])
