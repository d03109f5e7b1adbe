"""Taking a job in: a request is checked whole, its image pinned, its inputs looked at, and stored in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from gateway.config import Config
from gateway.errors import AppCode, GatewayError
from gateway.images.service import ImageRegistry
from gateway.jobs import access, views
from gateway.jobs.args import render
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.layout import lay_out
from gateway.jobs.model import JobInput, check_site, parse_job_input, refuse_unsupported
from gateway.jobs.mounts import refdata_mount_point
from gateway.jobs.split import split
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectInfo, ObjectStore
from gateway.s3.paths import parse_prefix
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Image, InputFile, Job, JobRefdata, Transition


class Admission:
    """The one way by which jobs come into the database."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, images: ImageRegistry
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._images = images

    def admit(self, caller: Caller, body: object) -> Job:
        """Check a request whole and store it as a job.

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
        refdata = refdata_mount_point(image, asked.params)
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
        return self._store(
            caller,
            asked,
            image,
            refdata,
            paths,
            shares,
            [(r.args, r.environment) for r in rendered],
            found,
        )

    def _store(
        self,
        caller: Caller,
        asked: JobInput,
        image: Image,
        refdata: str | None,
        paths: Sequence[str],
        shares: Sequence[Sequence[int]],
        rendered: Sequence[tuple[list[str], dict[str, str]]],
        found: Sequence[ObjectInfo],
    ) -> Job:
        time = store.now()
        pinned = {
            **views.image(image).model_dump(mode="json"),
            "cmd": image.cmd,
            "workdir": image.workdir,
            "env": image.env,
            "refdata_mount_point": refdata,
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
            if image.refdata_id is not None:
                session.add(JobRefdata(job_id=job_id, refdata_id=image.refdata_id))
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
            audit(session, caller, "job.submit", str(job_id), "ok")
        return job


def _needs_crc(info: ObjectInfo) -> bool:
    """Whether the ETag alone cannot prove a download: it is no MD5, neither of the object nor of parts that are known."""
    return not info.etag_is_md5


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
