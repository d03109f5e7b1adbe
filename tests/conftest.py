"""What the tests share: their settings, and the dev cluster as an object."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import hypothesis
import pytest
import structlog
from devclusterlib.enter import identity

from gateway.client import Client, CtsError
from tests import settings

CHECKOUT = settings.CHECKOUT
ENDED = ("complete", "error", "canceled")


def pytest_configure(config: pytest.Config) -> None:
    """Log where pytest does not swap files; take signals as in a terminal, nohup and `&` or not: children inherit it."""
    hypothesis.settings.register_profile("cts", deadline=None)  # a busy machine is no failure
    hypothesis.settings.load_profile("cts")
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
    pid: int

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
        self,
        *argv: str,
        user: str = "alice",
        check: bool = True,
        text: str | None = None,
        seconds: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the site as a user, for so many seconds at most.

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
            timeout=seconds,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    @contextmanager
    def client(self, user: str) -> Iterator[Client]:
        """The Python client as a user of the site, for what is asked often: a command costs a second of this machine.

        The kernel tells the daemon the identity of the thread that connects, which is the user's for the time of the block.
        """
        root = f"/proc/{self.pid}/root"
        who = identity(Path(root), user)
        folder = os.open(f"{root}/run/cts", os.O_PATH | os.O_DIRECTORY)
        try:
            with Client(f"/proc/self/fd/{folder}/cts.sock") as client, _acting(who.uid, who.gid):
                yield client
        finally:
            os.close(folder)

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
        with self.client(user) as client:
            return client.submit(given)

    def job(self, job_id: str, user: str = "alice") -> dict[str, Any]:
        """A job as JSON."""
        with self.client(user) as client:
            return client.job(job_id).model_dump(mode="json")

    def containers(self, job_id: str) -> list[dict[str, Any]]:
        """A job's containers as JSON."""
        with self.client("alice") as client:
            return [each.model_dump(mode="json") for each in client.containers(job_id)]

    def release(self, job_id: str) -> None:
        """Let Slurm start a requeued job now; it waits two minutes by itself."""
        for slurm in self.job(job_id)["slurm_jobs"]:
            tasks = self.run("squeue", "-h", "-r", "-t", "PD", "-j", slurm, "-o", "%i", user="root")
            for task in tasks.stdout.split():
                self.run("scontrol", "update", f"jobid={task}", "starttime=now", user="root")

    def finish(self, job_id: str, user: str = "alice") -> dict[str, Any]:
        """Wait for a job's end and return it."""
        with self.client(user) as client, suppress(TimeoutError, CtsError):
            client.wait(job_id, timeout=300)
        job = self.job(job_id, user)
        assert job["state"] in ENDED, job
        return job

    def until(self, what: Callable[[], bool], seconds: float = 300) -> None:
        """Wait until something holds. The time is for what never comes: a slow machine is no failure."""
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


@contextmanager
def _acting(uid: int, gid: int) -> Iterator[None]:
    """Have this thread, and no other, act as a user."""
    _set_effective("gid", gid)
    _set_effective("uid", uid)
    try:
        yield
    finally:
        _set_effective("uid", 0)
        _set_effective("gid", 0)


def _set_effective(what: str, number: int) -> None:
    # What Python offers changes all threads. setresuid and setresgid by number: of x86-64, and of all others that Debian has.
    calls = {"uid": 117, "gid": 119} if os.uname().machine == "x86_64" else {"uid": 147, "gid": 149}
    if ctypes.CDLL(None, use_errno=True).syscall(calls[what], -1, number, -1) != 0:
        raise OSError(ctypes.get_errno(), f"setres{what}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what Slurm and the daemon had to say where a test on the site fails: its machine may be gone when it is read."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, DevCluster):
        for words in _TOLD:
            report.sections.append((" ".join(words), _said(site, words)))
    return report


_TOLD = (
    ("exec", "--", "squeue", "--all", "--format=%i %j %u %T %r %M %l"),
    ("exec", "--", "sinfo", "--all", "--Node", "--long"),
    ("exec", "--user", "ada", "--", "ctsqueue", "--all"),
    ("exec", "--", "df", "-h", "/", "/scratch", "/tmp"),
    ("logs", "gateway"),
    ("logs", "slurmctld"),
)


def _said(site: DevCluster, words: tuple[str, ...], most: int = 10_000) -> str:
    try:
        done = site.tool(*words, check=False)
    except subprocess.TimeoutExpired as late:
        return str(late)
    return (done.stdout + done.stderr)[-most:]


@pytest.fixture(scope="session", autouse=True)
def kept_where_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep temporary directories where test.cfg says so; else each is removed with its test."""
    if settings.load().keep_temporary:
        tmp_path_factory._retention_policy = "all"


@pytest.fixture(scope="session")
def site() -> DevCluster:
    """The dev cluster of $CTS_CLUSTER or test.cfg, as deploy/devcluster finds it, which `make test` has brought up."""
    return found()


def found() -> DevCluster:
    """The same, for programs that are no tests."""
    facts = json.loads(DevCluster((), "", 0).tool("env").stdout)
    # By name: tests also run it from programs that have another environment.
    options = ("--name", facts["name"], "--cache", facts["cache"])
    return DevCluster(options, facts["registry"], facts["pid"])
