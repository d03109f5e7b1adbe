"""Staging reference data at a site: a loop that makes a job for what is to be staged, and follows it.

The job is a gateway job like any other, of one container whose one input is the archive: it is submitted exactly once,
granted, polled, cancelled and accounted for by the same loops. Only the agent does something else in it (docs/node-protocol.md).
"""

from __future__ import annotations

import structlog
from sqlmodel import Session

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.daemon.staging import add_job, error_of
from gateway.errors import SiteError
from gateway.jobs.sites import why_inactive
from gateway.jobs.states import Phase
from gateway.refdata.archives import directory_name, file_name, kind_of
from gateway.store import jobs
from gateway.store import refdata as store
from gateway.store.db import Database
from gateway.store.tables import Container, InputFile, Refdata, RefdataSite

log = structlog.get_logger()
USER = "(refdata)"  # of the jobs that stage: no name that anybody can have
_IDLE = 30.0
_BUSY = 1.0


class Stager:
    """The refdata loop of one site."""

    def __init__(self, database: Database, site: Site) -> None:
        self._db = database
        self._site = site

    def tick(self) -> float:
        """Bring everything one step on; returns the seconds to wait."""
        self._take_in()
        with self._db.read() as session:
            found = store.to_do(session, self._site.name)
        for row, data in found:
            with one_job(row.job_id or 0, f"staging reference data {row.refdata_id}"):
                try:
                    self._step(row, data)
                except SiteError as exc:
                    log.warning("refdata.trouble", refdata=row.refdata_id, error=str(exc))
        return _BUSY if found else _IDLE

    def _take_in(self) -> None:
        """Note what is new here: just registered, or from before this site was there or active."""
        with self._db.read() as session:
            if why_inactive(session, self._site.name, self._site.section) is not None:
                return
            if not store.missing(session, self._site.name):
                return
        with self._db.write() as session:
            for number in store.missing(session, self._site.name):
                row = RefdataSite(refdata_id=number, site=self._site.name, state="created")
                store.move(session, row, "created")

    def _step(self, row: RefdataSite, data: Refdata) -> None:
        if row.remove:
            self._remove(row, data)
        elif row.job_id is not None:
            self._follow(row, data)
        else:
            self._begin(data)

    def _remove(self, row: RefdataSite, data: Refdata) -> None:
        name = directory_name(data)
        folder = self._site.refdata_dir
        self._site.hands.remove([f"{folder}/{name}", f"{folder}/.{name}.tmp"])
        log.info("refdata.removed", refdata=row.refdata_id, site=self._site.name)
        with self._db.write() as session:
            stored = session.get(RefdataSite, (row.refdata_id, row.site))
            if stored is not None:
                stored.remove = False
                session.add(stored)

    def _begin(self, data: Refdata) -> None:
        """Make the job, in the transaction that says so: it is made once."""
        with self._db.write() as session:
            row = session.get(RefdataSite, (data.id, self._site.name))
            if row is None or row.state != "created" or row.job_id is not None or row.remove:
                return
            if why_inactive(session, self._site.name, self._site.section) is not None:
                return
            row.job_id = self._add_job(session, data)
            session.add(row)
        self._site.submit_wake.set()
        self._site.poll_wake.set()

    def _add_job(self, session: Session, data: Refdata) -> int:
        section = self._site.section
        kind = kind_of(data.key, unpack=data.unpack)
        return add_job(
            session,
            self._site,
            user=USER,
            name=f"refdata-{data.id}",
            asked={
                "input_files": [f"{data.bucket}/{data.key}"],
                "staging": {
                    "kind": kind,
                    "file_name": file_name(data.key, kind),
                    "name": directory_name(data),
                    "max_bytes": section.refdata_max_size,
                    "max_files": section.refdata_max_files,
                },
            },
            image={
                "name": f"{data.bucket}/{data.key}",
                "digest": data.etag,
                "tag": None,
                "entrypoint": [],
                "cmd": [],
                "workdir": "/",
                "registered_by": data.registered_by,
                "registered_on": data.registered_on.isoformat(),
            },
            archive=InputFile(
                job_id=0,  # that of the job, which has none yet
                container=0,
                position=0,
                bucket=data.bucket,
                key=data.key,
                path="archive",
                size=data.size,
                etag=data.etag,
                part_sizes=data.part_sizes,
                crc64nvme=data.crc64nvme,
                check_crc64nvme=data.check_crc64nvme,
            ),
        )

    def _follow(self, row: RefdataSite, data: Refdata) -> None:
        """Take over what the job has come to."""
        with self._db.read() as session:
            job = jobs.get(session, row.job_id or 0)
            container = session.get(Container, (row.job_id, 0))
        if job is None or container is None:
            self._move(row, "error", "the job that staged it is gone")
            return
        phase = Phase.of(job.phase)
        if container.slurm_job_id is not None and row.state == "created":
            self._move(row, "download_submitted", None)
            row.state = "download_submitted"
        if phase is Phase.COMPLETE:
            self._move(row, "complete", None, (container.result or {}).get("bytes_out"))
        elif phase.terminal:
            name = directory_name(data)
            inside = self._site.container_dir(row.job_id or 0, 0)
            # What a job that was killed has left: nothing of it is of use to the next.
            left = [f"{self._site.refdata_dir}/.{name}.tmp", f"{inside}/in", f"{inside}/.part"]
            self._site.hands.remove(left)
            self._move(row, "error", error_of(job, container))

    def _move(
        self, row: RefdataSite, state: str, error: str | None, size: int | None = None
    ) -> None:
        with self._db.write() as session:
            stored = session.get(RefdataSite, (row.refdata_id, row.site))
            if stored is None or stored.job_id != row.job_id or stored.state != row.state:
                return
            stored.unpacked_bytes = size
            store.move(session, stored, state, error)
        log.info("refdata.moved", refdata=row.refdata_id, site=row.site, state=state, error=error)
        if state != "download_submitted":
            self._site.submit_wake.set()  # jobs that wait for it go on, or learn why not
