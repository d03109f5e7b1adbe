"""One site with all that the daemon has there: a database, a work directory, a fake Slurm, a bucket; and what nodes do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlmodel import select

from gateway.config import Config, SiteSection
from gateway.daemon.clean import Cleaner
from gateway.daemon.mailbox import Mailbox
from gateway.daemon.poll import Poller
from gateway.daemon.site import Site
from gateway.daemon.submit import Submitter
from gateway.jobs.caller import Caller
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.submissions import submissions
from gateway.store.tables import (
    Container,
    Image,
    InputFile,
    Job,
    OutputFile,
    Submission,
    Transition,
)
from tests.daemon.fakes import Clock, FakeSlurm, Store
from tests.s3.places import Place

MIB = 1 << 20
SECRET = "wJalrXUtnFEMIexample"
IMAGE: dict[str, Any] = {
    "name": "ghcr.io/kbase/sum",
    "digest": "sha256:" + "a" * 64,
    "tag": "1.0",
    "entrypoint": ["/sum"],
    "cmd": ["-v"],
    "workdir": "/",
    "env": {"PATH": "/bin"},
    "refdata_id": None,
    "refdata_mount_point": None,
    "registered_by": "ada",
    "registered_on": "2026-01-31T12:00:00Z",
}
ALICE = Caller("alice", 2001, frozenset({"users"}), False, "uid=2001 pid=1")
HTTP = httpx.Client(verify=False)  # one for all: each looks for certificates
BOB = Caller("bob", 2002, frozenset({"users"}), False, "uid=2002 pid=2")
ADA = Caller("ada", 2003, frozenset({"admins"}), True, "uid=2003 pid=3")


def make_config(endpoint: Any, folder: Path, **site: Any) -> Config:
    """A configuration of one site, `dev`, whose work directory is below a folder."""
    fields: dict[str, Any] = {"work_dir": folder / "work", "cpus_per_node": 4, "nodes": 2}
    return Config(
        s3=endpoint.model_copy(update={"part_size": 5 * MIB}),
        sites={"dev": SiteSection(**fields | site)},
    )


@dataclass
class World:
    """Everything of one site. `restart` gives the daemon a new life: its loops know nothing but the database."""

    config: Config
    database: Database
    site: Site
    slurm: FakeSlurm
    store: Store
    bucket: Place
    prefix: str
    clock: Clock = field(default_factory=Clock)
    _seq: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Make the loops anew, as a daemon that was killed and started again has them."""
        self.submitter = Submitter(self.config, self.database, self.site, self.clock)
        self.mailbox = Mailbox(self.config, self.database, self.store, self.site, self.clock)
        self.poller = Poller(self.database, self.store, self.site, self.clock)
        self.cleaner = Cleaner(self.database, self.site)

    # What users do

    def add(self, containers: int = 1, files: int = 1, **fields: Any) -> int:
        """Put a job there as admission does: each container with some inputs."""
        now = store.now()
        given = {
            "input_files": [f"data/{n}/{p}.txt" for n in range(containers) for p in range(files)],
            "params": {"input_mount_point": "/in", "output_mount_point": "/out"},
        }
        row: dict[str, Any] = {
            "user": "alice", "site": "dev", "phase": "created", "created": now, "updated": now,
            "job_input": given, "image": IMAGE, "token": "5ec2e7" * 10, "num_containers": containers,
            "cpus": 1, "memory": 100 * 10**6, "runtime": 60, "input_file_count": files * containers,
            "input_bytes": 3 * files * containers, "output_dir": f"{self.bucket.bucket}/{self.prefix}",
        }  # fmt: skip
        with self.database.write() as session:
            job = Job(**row | fields)
            session.add(job)
            session.flush()
            number = job.id or 0
            session.add(Transition(job_id=number, phase="created", time=now))
            for index in range(containers):
                session.add(
                    Container(job_id=number, index=index, phase="created", args=[f"a{index}", "$(x)"], environment={"N": str(index)})
                )  # fmt: skip
                for position in range(files):
                    session.add(
                        InputFile(
                            job_id=number, container=index, position=index * files + position, bucket="data",
                            key=f"{index}/{position}.txt", path=f"{position}.txt", size=3, etag="e" * 32,
                        )
                    )  # fmt: skip
        return number

    def cancel(self, number: int, by: str = "alice") -> None:
        """Cancel a job as the service does."""
        from gateway.jobs.service import JobService

        caller = ADA if by == "ada" else ALICE
        service = JobService(self.database, None, None, lambda _: None)  # type: ignore[arg-type]
        service.cancel(caller, number)

    # What the daemon does

    def submit(self, containers: int = 1, **fields: Any) -> tuple[int, str]:
        """Put a job there and have it submitted; returns its id and Slurm's."""
        number = self.add(containers, **fields)
        self.submitter.tick()
        return number, self.submissions(number)[0].slurm_job_id or ""

    def poll(self, seconds: float = 0) -> float:
        """Let time pass, then look."""
        self.clock.forward(seconds)
        return self.poller.tick()

    def settle(self) -> None:
        """Look as often as the end of anything can take."""
        for _ in range(3):
            self.poll(31)

    # What the rows say

    def job(self, number: int) -> Job:
        """A job."""
        with self.database.read() as session:
            row = session.get(Job, number)
        assert row is not None
        return row

    def container(self, number: int, index: int = 0) -> Container:
        """A container."""
        with self.database.read() as session:
            row = session.get(Container, (number, index))
        assert row is not None
        return row

    def containers(self, number: int) -> list[Container]:
        """All of them."""
        with self.database.read() as session:
            return store.containers(session, number)

    def submissions(self, number: int) -> list[Submission]:
        """Those of a job."""
        with self.database.read() as session:
            return submissions(session, number)

    def outputs(self, number: int) -> list[OutputFile]:
        """Those of a job."""
        with self.database.read() as session:
            return store.outputs(session, number)

    def history(self, number: int, container: int | None = None) -> list[tuple[str, datetime]]:
        """The phases of a job, or of a container, with their times, as they were written."""
        query = select(Transition).where(Transition.job_id == number)
        with self.database.read() as session:
            rows = list(session.exec(query.order_by(Transition.id)))  # type: ignore[arg-type]
        return [(row.phase, row.time) for row in rows if row.container == container]

    def phases(self, number: int) -> list[str]:
        """The phases that a job went through."""
        return [phase for phase, _ in self.history(number)]

    def change(self, row: Any, **fields: Any) -> None:
        """Write to a row."""
        with self.database.write() as session:
            found = session.merge(row)
            for name, value in fields.items():
                setattr(found, name, value)

    def age(self, number: int, **past: float) -> None:
        """Let a job have been updated some time ago."""
        self.change(self.job(number), updated=store.now() - timedelta(**past))

    # What nodes do

    def folder(self, number: int, index: int = 0) -> Path:
        """The directory of a container."""
        return Path(self.site.container_dir(number, index))

    def letter(self, number: int, kind: str, index: int = 0, **fields: Any) -> Path:
        """Leave a request in the mailbox; returns where its answer will be."""
        seq = next(self._seq)
        slurm = str(fields.pop("slurm_job_id", "77"))
        document: dict[str, Any] = {
            "version": 1, "kind": kind, "job_id": number, "container": index, "token": self.job(number).token,
            "slurm_job_id": slurm, "seq": seq,
        }  # fmt: skip
        self.drop(f"{number}.{index}.{slurm}.{seq}.json", json.dumps(document | fields).encode())
        return self.folder(number, index) / "grants" / f"{slurm}.{seq}.json"

    def drop(self, name: str, data: bytes) -> Path:
        """Leave anything in the mailbox."""
        path = Path(self.site.mailbox) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def letters(self) -> list[str]:
        """Names of what is in the mailbox."""
        return sorted(path.name for path in Path(self.site.mailbox).glob("[!.]*"))

    def ask(self, number: int, kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
        """Ask for grants and return the answer."""
        path = self.letter(number, kind, index, **fields)
        self.mailbox.tick()
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def upload(self, number: int, files: dict[str, bytes], index: int = 0) -> None:
        """Upload outputs as the agent does: by grants, with exactly the headers that come with them."""
        answer = self.ask(
            number, "stage-out", index, outputs=[announced(n, d) for n, d in files.items()]
        )
        assert answer["error"] is None, answer
        for granted in answer["outputs"]:
            put(granted, files[granted["path"]])

    def result(
        self, number: int, index: int = 0, outcome: str = "ok", *, outputs: Any = (), **fields: Any
    ) -> None:
        """Write result.json."""
        document: dict[str, Any] = {
            "version": 1, "slurm_job_id": "77", "host": "n1", "outcome": outcome,
            "exit_code": 0 if outcome == "ok" else None, "signal": None, "error": None,
            "times": {"run": ["2026-11-24T06:00:01.000Z", "2026-11-24T06:00:03.500Z"]},
            "bytes_in": 3, "bytes_out": 0, "image_cached": True,
            "outputs": [one if isinstance(one, dict) else {"path": one, "size": 1, "etag": "", "crc64nvme": None} for one in outputs],
            "log_truncated": False, "memory_ran_out": False,
        }  # fmt: skip
        self.write_result(number, json.dumps(document | fields), index)

    def write_result(self, number: int, text: str, index: int = 0) -> None:
        """Write anything as result.json."""
        folder = self.folder(number, index)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(text)

    def complete(self, number: int, slurm: str, index: int = 0, name: str = "") -> None:
        """Have a container run, write one file and end well."""
        path = name or f"out-{index}.txt"
        self.upload(number, {path: b"done"}, index)
        self.result(number, index, outputs=[path])
        self.slurm.set(slurm, index, "COMPLETED", node="n1")


def b64(data: bytes) -> str:
    """The MD5 of bytes, as Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def announced(path: str, data: bytes, part: int = 5 * MIB) -> dict[str, Any]:
    """What the agent says of an output."""
    parts = [b64(data[start : start + part]) for start in range(0, len(data), part)]
    return {
        "path": path,
        "size": len(data),
        "md5": b64(data),
        "crc64nvme": None,
        "part_md5s": parts if len(data) > part else None,
    }


def put(granted: dict[str, Any], data: bytes, *, parts: int | None = None) -> None:
    """Use the grant of one output; `parts` says how many of its parts, without completing it."""
    if granted["put"] is not None:
        answer = HTTP.put(granted["put"]["url"], headers=granted["put"]["headers"], content=data)
        answer.raise_for_status()
        return
    many = granted["multipart"]
    size, done = many["part_size"], []
    for each in many["parts"][:parts]:
        start = (each["number"] - 1) * size
        answer = HTTP.put(each["url"], headers=each["headers"], content=data[start : start + size])
        answer.raise_for_status()
        done.append((each["number"], answer.headers["ETag"]))
    if parts is None:
        rows = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in done
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
        HTTP.post(
            many["complete"]["url"], headers=many["complete"]["headers"], content=body
        ).raise_for_status()


def approve(database: Database) -> None:
    """Have the image approved."""
    config = {name: IMAGE[name] for name in ("entrypoint", "cmd", "workdir", "env")}
    platforms = {"linux/amd64": {"digest": IMAGE["digest"], "config": config}}
    fields = IMAGE | {"registered_on": store.now(), "platforms": platforms}
    with database.write() as session:
        session.add(Image(**fields))
