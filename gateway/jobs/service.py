"""What users do with jobs: submit, look, cancel, read logs. Decides who may; the loops do the work."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from sqlmodel import Session

from gateway import wire
from gateway.config import Config
from gateway.errors import AppCode, GatewayError
from gateway.images.service import ImageRegistry
from gateway.jobs import access, views
from gateway.jobs.args import render
from gateway.jobs.caller import Caller
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.layout import lay_out
from gateway.jobs.model import JobInput, check_site, parse_job_input, refuse_unsupported
from gateway.jobs.split import split
from gateway.jobs.states import Phase, phases_of_wire
from gateway.s3.client import ObjectInfo, ObjectStore
from gateway.s3.paths import parse_prefix
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Audit, Container, Image, InputFile, Job, Transition


@dataclass(frozen=True)
class LogSlice:
    """A piece of a log: its bytes, the size of the whole so far, and whether the container has ended."""

    data: bytes
    size: int
    final: bool


class LogReader(Protocol):
    """Reads a container's log at its site: (bytes, size of the whole), None when there is none yet."""

    def __call__(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        """Read at most `length` bytes from byte `seek` on."""


class JobService:
    """Jobs as the API offers them. `wake(site)` is called when there is something new to do."""

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: ObjectStore,
        images: ImageRegistry,
        logs: LogReader,
        wake: Callable[[str], None],
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._images = images
        self._logs = logs
        self._wake = wake

    def submit(self, caller: Caller, body: object) -> int:
        """Check a request whole and store it as a job; returns its id.

        Raises
        ------
        GatewayError
            Whatever rule it breaks first.
        """
        asked = parse_job_input(body)
        site = self._config.sites.get(asked.cluster)
        if site is None:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"cluster: there is no site {asked.cluster!r}; the sites are {', '.join(sorted(self._config.sites))}.",
            )
        if not site.active:
            raise GatewayError(
                AppCode.SITE_INACTIVE,
                f"The site {asked.cluster} takes no jobs now: {site.inactive_reason or 'switched off'}.",
            )
        refuse_unsupported(asked)
        check_site(asked, asked.cluster, site)
        paths = lay_out([item.file for item in asked.files])
        for item in asked.files:
            access.require(self._config.path_rules, caller, item.file, "read")
        access.require(self._config.path_rules, caller, asked.output_dir, "write")
        image = self._images.get(asked.image)
        shares = split(list(range(len(paths))), asked.num_containers)
        rendered = [
            render(asked.params, [f"{asked.params.input_mount_point}/{paths[n]}" for n in share])
            for share in shares
        ]
        found = self._objects.inspect_all(
            [(item.path.bucket, item.path.key) for item in asked.files]
        )
        _compare_checksums(asked, found)
        target = parse_prefix(asked.output_dir)
        self._objects.check_writable(target.bucket, target.key)
        job_id = self._store(
            caller, asked, image, paths, shares, [(r.args, r.environment) for r in rendered], found
        )
        self._wake(asked.cluster)
        return job_id

    def _store(
        self,
        caller: Caller,
        asked: JobInput,
        image: Image,
        paths: Sequence[str],
        shares: Sequence[Sequence[int]],
        rendered: Sequence[tuple[list[str], dict[str, str]]],
        found: Sequence[ObjectInfo],
    ) -> int:
        time = store.now()
        pinned = {
            **views.image(image).model_dump(mode="json"),
            "cmd": image.cmd,
            "workdir": image.workdir,
        }
        job = Job(
            user=caller.user,
            name=asked.name,
            site=asked.cluster,
            phase=str(Phase.CREATED),
            created=time,
            updated=time,
            job_input=asked.model_dump(mode="json", exclude_none=True),
            image=pinned,
            token=secrets.token_hex(32),
            num_containers=asked.num_containers,
            cpus=asked.cpus,
            memory=asked.memory,
            runtime=asked.runtime,
            input_file_count=len(paths),
            input_bytes=sum(info.size for info in found),
            output_dir=asked.output_dir,
        )
        with self._db.write() as session:
            session.add(job)
            session.flush()
            job_id = job.id or 0
            session.add(Transition(job_id=job_id, phase=str(Phase.CREATED), time=time))
            for number, (share, (args, environment)) in enumerate(
                zip(shares, rendered, strict=True)
            ):
                session.add(
                    Container(
                        job_id=job_id,
                        index=number,
                        phase=str(Phase.CREATED),
                        args=args,
                        environment=environment,
                    )
                )
                for position in share:
                    item, info = asked.files[position], found[position]
                    session.add(
                        InputFile(
                            job_id=job_id,
                            container=number,
                            position=position,
                            bucket=item.path.bucket,
                            key=item.path.key,
                            path=paths[position],
                            size=info.size,
                            etag=info.etag,
                            part_sizes=info.part_sizes,
                            crc64nvme=info.crc64nvme or item.crc64nvme,
                            check_crc64nvme=item.crc64nvme is not None or _needs_crc(info),
                        )
                    )
            _audit(session, caller, "job.submit", str(job_id), "ok")
        return job_id

    def list_jobs(
        self,
        caller: Caller,
        *,
        cluster: str | None,
        state: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        user: str | None = None,
        everyone: bool = False,
    ) -> list[wire.JobPreview]:
        """List the caller's jobs, the last updated first; an admin may ask for another's or everyone's."""
        whose = caller.user
        if caller.admin and (everyone or user is not None):
            whose = user or ""
        phases = [str(phase) for phase in phases_of_wire(state)] if state is not None else None
        with self._db.read() as session:
            rows = store.listed(
                session,
                user=whose or None,
                site=cluster,
                phases=phases,
                after=after,
                before=before,
                limit=limit,
            )
            return [views.preview(session, row) for row in rows]

    def job(self, caller: Caller, job_id: int) -> wire.Job:
        """Return one job."""
        with self._db.read() as session:
            return views.full(session, self._mine(session, caller, job_id))

    def status(self, caller: Caller, job_id: int) -> wire.JobStatus:
        """Return the state of one job."""
        with self._db.read() as session:
            return views.status(session, self._mine(session, caller, job_id))

    def exit_codes(self, caller: Caller, job_id: int) -> list[int | None]:
        """Return the exit code of each container, None where there is none."""
        with self._db.read() as session:
            self._mine(session, caller, job_id)
            return [row.exit_code for row in store.containers(session, job_id)]

    def containers(self, caller: Caller, job_id: int) -> list[wire.Container]:
        """Return the containers of a job."""
        with self._db.read() as session:
            self._mine(session, caller, job_id)
            return [views.container(session, row) for row in store.containers(session, job_id)]

    def container(self, caller: Caller, job_id: int, number: int) -> wire.Container:
        """Return one container of a job."""
        with self._db.read() as session:
            self._mine(session, caller, job_id)
            return views.container(session, self._container(session, job_id, number))

    def script(self, caller: Caller, job_id: int) -> list[str]:
        """Return the batch scripts that were submitted for a job."""
        with self._db.read() as session:
            self._mine(session, caller, job_id)
            return [
                row.script for row in store.submissions(session, job_id) if row.script is not None
            ]

    def cancel(self, caller: Caller, job_id: int) -> None:
        """Ask for a job's end; asking again is no error, and a job that has ended is INVALID_JOB_STATE."""
        with self._db.write() as session:
            job = self._mine(session, caller, job_id)
            phase = Phase.of(job.phase)
            if phase.terminal and phase is not Phase.CANCELED:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"Job {job_id} has ended already: its state is {phase.wire}.",
                )
            if job.cancel_by is None and not phase.terminal:
                job.cancel_by, job.cancel_time = caller.user, store.now()
                advance_job(session, job, Phase.CANCELING, f"by {caller.user}")
                for container in store.containers(session, job_id):
                    advance_container(session, container, Phase.CANCELING)
                _audit(session, caller, "job.cancel", str(job_id), "ok")
            site = job.site
        self._wake(site)

    def log(
        self,
        caller: Caller,
        job_id: int,
        number: int,
        stream: Literal["stdout", "stderr"],
        seek: int,
        length: int | None,
    ) -> LogSlice:
        """Read a container's log from byte `seek` on.

        Raises
        ------
        GatewayError
            NO_SUCH_JOB, NO_SUCH_SUBJOB, NO_LOGS.
        """
        with self._db.read() as session:
            job = self._mine(session, caller, job_id)
            container = self._container(session, job_id, number)
        found = self._logs(job.site, job_id, number, stream, seek, length)
        if found is None:
            raise GatewayError(
                AppCode.NO_LOGS,
                f"There is no {stream} of {job_id}_{number} yet: its phase is {container.phase}.",
            )
        return LogSlice(found[0], found[1], Phase.of(container.phase).terminal)

    @staticmethod
    def _mine(session: Session, caller: Caller, job_id: int) -> Job:
        job = store.get(session, job_id) if job_id < 1 << 62 else None
        if job is None or (job.user != caller.user and not caller.admin):
            raise GatewayError(
                AppCode.NO_SUCH_JOB, f"There is no job {job_id} of yours; list yours with: cts jobs"
            )
        return job

    @staticmethod
    def _container(session: Session, job_id: int, number: int) -> Container:
        row = session.get(Container, (job_id, number))
        if row is None:
            raise GatewayError(
                AppCode.NO_SUCH_SUBJOB,
                f"Job {job_id} has no container {number}; they count from 0.",
            )
        return row


def _needs_crc(info: ObjectInfo) -> bool:
    """Whether the ETag alone cannot prove a download: a multipart object whose parts are not known."""
    return "-" in info.etag and info.part_sizes is None


def _compare_checksums(asked: JobInput, found: Sequence[ObjectInfo]) -> None:
    for item, info in zip(asked.files, found, strict=True):
        if (
            item.crc64nvme is not None
            and info.crc64nvme is not None
            and item.crc64nvme != info.crc64nvme
        ):
            raise GatewayError(
                AppCode.CHECKSUM_MISMATCH,
                f"{item.file}: the request gives the CRC64NVME {item.crc64nvme}, S3 has {info.crc64nvme}.",
            )


def _audit(session: Session, caller: Caller, action: str, target: str, result: str) -> None:
    session.add(
        Audit(
            time=store.now(),
            user=caller.user,
            origin=caller.origin,
            action=action,
            target=target,
            result=result,
        )
    )
