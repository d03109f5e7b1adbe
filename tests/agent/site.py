"""A site for the agent: a work directory with one container, an object store, a daemon that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.agent.files import Container, Input, Job, read_container, read_job
from gateway.agent.mailbox import Mailbox
from gateway.agent.place import Place, Slurm
from gateway.agent.s3http import Policy
from tests.agent.fakes import FakeDaemon, FakeS3

SLURM = Slurm(job_id="77", owner="77", task=0, restarts=0, host="n1")
# Patience of a test: some attempts, none of them long.
HASTY = Policy(attempts=6, first=0.01, longest=0.02, timeout=0.3, window=0.2, floor_bytes=1000)
DIGEST = "sha256:" + "ab" * 32


class Site:
    """Job 1234 with container 0, its objects and its daemon."""

    def __init__(self, work: Path, s3: FakeS3) -> None:
        self.work = work
        self.s3 = s3
        self.job_dir = work / "jobs" / "1234"
        self.base = self.job_dir / "0"
        (work / "mailbox").mkdir(parents=True)
        self.base.mkdir(parents=True)
        self.daemon = FakeDaemon(s3, work, 1234)
        self._runs = 0
        self.job_json: dict[str, Any] = {
            "version": 1,
            "job_id": 1234,
            "token": "secret-token",
            "mailbox": str(work / "mailbox"),
            "job_dir": str(self.job_dir),
            "agent": str(work / "agent"),
            "python": "/usr/bin/python3",
            "image": {
                "reference": f"registry.example/test/image@{DIGEST}",
                "digest": DIGEST,
                "entrypoint": ["/bin/sh", "-c"],
                "cmd": ["true"],
                "workdir": "/",
            },
            "image_cache": str(work / "images"),
            "apptainer": str(work / "bin" / "apptainer"),
            "apptainer_flags": [],
            "no_https": False,
            "input_mount_point": "/input_files",
            "output_mount_point": "/output_files",
            "cpus": 1,
            "memory": 10_000_000,
            "run_memory_mb": 140,
            "runtime_seconds": 60,
            "grace_seconds": 1,
            "scratch": None,
            "max_log_size": 1_000_000,
            "srun": str(work / "bin" / "srun"),
            "s3": {"part_size": 1000, "stores": []},
        }

    def job(self, **changes: Any) -> Job:
        """Write job.json, with changes, and read it as the agent does."""
        self.job_json.update(changes)
        path = self.job_dir / "job.json"
        path.write_text(json.dumps(self.job_json))
        return read_job(path)

    def container(self, index: int = 0, **changes: Any) -> Container:
        """Write container.json and read it as the agent does."""
        document = {"version": 1, "index": index, "args": [], "environment": {}, "inputs": []}
        path = self.job_dir / str(index) / "container.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document | changes))
        return read_container(path)

    def submission(self, number: int = 0, **changes: Any) -> None:
        """Write the list of containers of a submission."""
        document = {"version": 1, "containers": [0], "per_task": 1, "upload_only": False}
        path = self.job_dir / f"submit-{number}.json"
        path.write_text(json.dumps(document | changes))

    def place(self) -> Place:
        """Make the directories of the container."""
        place = Place(self.job(), 0, SLURM)
        place.clean_start()
        return place

    def mailbox(self, role: str) -> Mailbox:
        """Return a mailbox of a step, each time of another run of the Slurm job."""
        job = self.job()
        self._runs += 1
        return Mailbox(job, 0, SLURM._replace(restarts=self._runs), Place(job, 0, SLURM), role)

    def input(
        self,
        data: bytes,
        path: str | None = None,
        parts: list[int] | None = None,
        known: bool = True,
        crc: str | None = None,
    ) -> Input:
        """Put an object into the store; return it as an input, its parts known or not."""
        id_ = len(self.daemon.inputs) + 1
        key = f"in/{id_}"
        self.daemon.inputs[id_] = key
        etag = self.s3.put(key, data, parts)
        sizes = tuple(parts) if parts is not None and known else None
        return Input(id_, path or f"f{id_}", len(data), etag, sizes, crc)
