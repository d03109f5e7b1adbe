"""A site with reference data: what admins do, the loop that stages, and a node that does as it is told."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from awscrt.checksums import crc64nvme

from gateway import wire
from gateway.daemon.refdata import Stager
from gateway.daemon.refdata_service import RefdataService
from gateway.refdata.registry import RefdataRegistry
from gateway.store.tables import Job, JobRefdata
from tests.daemon.world import ADA, IMAGE, World


def crc(data: bytes) -> str:
    """The CRC64NVME of bytes, as S3 writes it."""
    return base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()


@dataclass
class Depot:
    """Reference data of a world."""

    world: World
    woken: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        registry = RefdataRegistry(self.world.database, self.world.store, ["dev", "far"])
        self.service = RefdataService(
            self.world.database, registry, lambda: self.woken.append(None)
        )
        self.restart()

    def restart(self) -> None:
        """Make the loop anew."""
        self.stager = Stager(self.world.database, self.world.site)

    def put(self, name: str, data: bytes = b"archive", **more: Any) -> str:
        """Put an object there; returns its path."""
        key = f"{self.world.prefix}{name}"
        self.world.bucket.put(key, data, **more)
        return f"{self.world.bucket.bucket}/{key}"

    def register(self, path: str, **options: Any) -> wire.Refdata:
        """Register an object."""
        given: dict[str, Any] = {"crc64nvme": None, "unpack": True, "force": False}
        return self.service.register(ADA, path, **given | options)

    def at(self, refdata_id: str, site: str = "dev") -> wire.RefdataStatus:
        """What is known of it at a site."""
        found = self.service.get(refdata_id).statuses
        return next(status for status in found if status.cluster == site)

    def states(self, refdata_id: str) -> list[str]:
        """The states that it went through."""
        return [step.state for step in self.at(refdata_id).transition_times]

    def begin(self, name: str = "db.tar.gz") -> tuple[str, int, str]:
        """Register something and have its job submitted; returns its id, the job's and Slurm's."""
        refdata_id = self.register(self.put(name)).id
        return (refdata_id, *self.submit(refdata_id))

    def submit(self, refdata_id: str) -> tuple[int, str]:
        """Have the loops submit what is to be staged; returns the job and Slurm's id of it."""
        self.stager.tick()
        self.world.submitter.tick()
        self.stager.tick()
        job_id = int(self.at(refdata_id).job_id or 0)
        return job_id, self.world.submissions(job_id)[0].slurm_job_id or ""

    def end(self, job_id: int, slurm: str, outcome: str = "ok", **fields: Any) -> None:
        """Have the job end so, and the daemon take note."""
        self.world.result(job_id, outcome=outcome, bytes_out=4711, **fields)
        self.world.slurm.set(slurm, 0, "COMPLETED" if outcome == "ok" else "FAILED", node="n1")
        self.world.settle()
        self.stager.tick()

    def staged(self) -> str:
        """Have something staged; returns its id."""
        refdata_id, job_id, slurm = self.begin()
        self.end(job_id, slurm)
        assert self.at(refdata_id).state == "complete"
        return refdata_id

    def job(self, refdata_id: str) -> int:
        """Put a job there, as admission does, whose image has the data."""
        image = IMAGE | {"refdata_id": refdata_id, "refdata_mount_point": "/refdata"}
        number = self.world.add(image=image)
        with self.world.database.write() as session:
            session.add(JobRefdata(job_id=number, refdata_id=int(refdata_id)))
        return number

    def row(self, number: int) -> Job:
        """A job."""
        return self.world.job(number)

    @property
    def folder(self) -> Path:
        """The site's directory of reference data."""
        return Path(self.world.site.refdata_dir)
