"""The roads to Slurm that the contract suite goes: a name each, and how to get a backend and hands on the dev cluster.

A road is used from here, outside of the cluster: loopback is shared, and `deploy/devcluster exec` starts what has to run
inside. Another road is one more function, and one more row of `ROADS`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.config import SshSection
from gateway.slurm.child import start_process
from gateway.slurm.cli import CliBackend
from gateway.slurm.hands import Hands
from gateway.slurm.helper import HelperHands
from gateway.slurm.protocol import SlurmBackend
from gateway.slurm.pyslurm import PyslurmBackend
from gateway.slurm.render import ScriptValues, render
from gateway.slurm.rest import RestBackend
from gateway.slurm.slurmrestd import Slurmrestd
from gateway.slurm.ssh import SshHands
from gateway.slurm.tokens import TokenCommand
from tests import settings
from tests.conftest import CHECKOUT, DevCluster

USER = "ctsjob"

# In place of the node agent: a task does what the job's file says of its number.
_AGENT = b"""\
import json, os, subprocess, sys, time
what = json.load(open(sys.argv[2]))[int(os.environ["SLURM_ARRAY_TASK_ID"])]
if what == "sleep":
    time.sleep(600)
sys.exit(subprocess.call(["srun", "--job-name=run", "--ntasks=1", "/bin/sh", "-c", f"exit {what}"]))
"""


@dataclass(frozen=True)
class Road:
    """A backend, and hands at a work directory of its own that the nodes see, both of the user of the jobs."""

    site: DevCluster
    backend: SlurmBackend
    hands: Hands
    work: str

    def submit(self, tag: str, *tasks: int | str, **values: Any) -> str:
        """Submit a script as the gateway renders it: each task exits with its number, or sleeps; returns Slurm's id."""
        return self.backend.submit(self.write(tag, *tasks, **values))

    def write(
        self, tag: str, *tasks: int | str, template: str = "generic", **values: str | int
    ) -> str:
        """Write such a script, and return its path. The tag is its comment and, with dashes, its name."""
        folder = f"{self.work}/{tag.replace(':', '-')}"
        plain = ScriptValues(
            job_name=tag.replace(":", "-"),
            comment=tag,
            job_dir=folder,
            tasks=len(tasks),
            per_task=1,
            cpus=1,
            memory_mb=50,
            minutes=10,
            signal_seconds=60,
            partition="regular",
            account="dev",
            qos=None,
            python="/usr/bin/python3",
            agent=f"{self.work}/agent.py",
            job_file=f"{folder}/job.json",
            number=0,
        )
        script = render(template, replace(plain, **values))  # type: ignore[arg-type]
        listed = ", ".join(f'"{task}"' for task in tasks)
        self.hands.write_files(
            [
                (f"{self.work}/agent.py", _AGENT),
                (f"{folder}/job.json", f"[{listed}]".encode()),
                (f"{folder}/script.sbatch", script.encode("ascii")),
            ]
        )
        return f"{folder}/script.sbatch"


def new_tag() -> str:
    """Make a tag that no other job has."""
    return f"cts:contract:{uuid.uuid4().hex[:12]}"


@contextmanager
def cli(site: DevCluster, work: str) -> Iterator[Road]:
    """Slurm's commands, by a helper in the cluster."""
    enter = [str(CHECKOUT / "deploy/devcluster"), *site.options, "exec", "--user", USER, "--"]
    with closing(HelperHands([*enter, "/opt/cts/bin/cts-helper"], work)) as hands:
        yield Road(site, CliBackend(hands, None, USER, 60), hands, work)


@contextmanager
def ssh(site: DevCluster, work: str) -> Iterator[Road]:
    """The same commands over SSH."""
    with TemporaryDirectory() as folder, closing(ssh_hands(site, work, Path(folder))) as hands:
        yield Road(site, CliBackend(hands, None, USER, 60), hands, work)


def ssh_hands(site: DevCluster, work: str, folder: Path, **given: Any) -> SshHands:
    """Hands over SSH, with the key that the daemon in the cluster has; `given` are keys of [sites.NAME.ssh]."""
    for name in ("id_ed25519", "known_hosts"):
        (folder / name).write_text(site.run("cat", f"/etc/cts/ssh/{name}", user="root").stdout)
        (folder / name).chmod(0o600)
    plain = {
        "host": "127.0.0.1",
        "port": json.loads(site.tool("env").stdout)["ssh_port"],
        "user": USER,
        "key_file": folder / "id_ed25519",
        "known_hosts": folder / "known_hosts",
    }
    return SshHands(SshSection(**{**plain, **given}), "/usr/bin/python3", work)


def slurm_bin(site: DevCluster) -> str | None:
    """Where Slurm's commands are, for a Slurm with a prefix of its own."""
    prefix = json.loads(site.tool("env").stdout)["slurm_prefix"]
    return f"{prefix}/bin" if prefix else None


@contextmanager
def rest(site: DevCluster, work: str) -> Iterator[Road]:
    """slurmrestd over TCP, with tokens that scontrol makes; files by a helper as above."""
    facts = json.loads(site.tool("env").stdout)
    with cli(site, work) as commands:
        token = TokenCommand(commands.hands, ["scontrol", "token"], 60)
        token.get()  # while slurmctld is there to make it
        slurmrestd = Slurmrestd(facts["slurmrestd"], token, USER, None)
        backend = RestBackend(slurmrestd, commands.hands, slurm_bin(site), USER, 60)
        yield replace(commands, backend=backend)


@contextmanager
def pyslurm(site: DevCluster, work: str) -> Iterator[Road]:
    """Slurm's library, by a Python of the cluster that has pyslurm; the rest by the commands."""
    enter = [str(CHECKOUT / "deploy/devcluster"), *site.options, "exec", "--user", USER, "--"]
    load = "import sys; from gateway.cli.helper import main; sys.exit(main())"
    python = ("env", "PYTHONPATH=/src", settings.load().pyslurm_python, "-c", load, "--pyslurm")
    start = partial(start_process, [*enter, *python])
    with cli(site, work) as commands:
        backend = PyslurmBackend(start, commands.hands, slurm_bin(site), USER, 60)
        with closing(backend):
            yield replace(commands, backend=backend)


ROADS: dict[str, Callable[[DevCluster, str], AbstractContextManager[Road]]] = {
    "cli": cli,
    "ssh": ssh,
    "rest": rest,
}
if settings.load().pyslurm_python:
    ROADS["pyslurm"] = pyslurm


@contextmanager
def road_to(site: DevCluster, name: str) -> Iterator[Road]:
    """Open one of the roads, with a work directory that is there for its time."""
    work = f"/scratch/contract-{name}-{uuid.uuid4().hex[:8]}"
    owner = ("-o", USER, "-g", USER, "-m", "700")
    site.run("install", "-d", *owner, work, user="root")
    try:
        with ROADS[name](site, work) as road:
            yield road
    finally:
        site.run("rm", "-rf", work, user="root")
