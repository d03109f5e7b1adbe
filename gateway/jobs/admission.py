"""Taking a job in: a request is checked whole, its image pinned, its inputs looked at, and stored in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.config import Config
from gateway.errors import AppCode, GatewayError
from gateway.images.service import ImageRegistry, Variant
from gateway.images.views import pinned
from gateway.jobs import access
from gateway.jobs.additions import check_dependencies, keep_additions
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.fingerprint import fingerprints
from gateway.jobs.globs import directory, parse_glob
from gateway.jobs.idempotency import Once, digest_of
from gateway.jobs.listing import list_dirs, list_globs
from gateway.jobs.model import JobInput, check_site, parse_job_input
from gateway.jobs.mounts import refdata_mount_point
from gateway.jobs.parts import InputFile as AskedFile
from gateway.jobs.plan import Plan, make_plan
from gateway.jobs.resources import Choice, choose
from gateway.jobs.sites import require_active
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectInfo, ObjectStore
from gateway.s3.paths import parse_prefix
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Image, InputFile, Job, JobRefdata, Transition


@dataclass(frozen=True)
class Checked:
    """A request that breaks no rule. `found` is what S3 shows of `plan.everything`, in that order."""

    asked: JobInput
    choice: Choice
    image: Image
    variant: Variant
    refdata: str | None
    plan: Plan
    found: Sequence[ObjectInfo]


class Admission:
    """The one way by which jobs come into the database."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, images: ImageRegistry
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._images = images

    def admit(self, caller: Caller, body: object, key: str | None = None) -> Job:
        """Check a request whole and store it as a job; return the job that the same request with that key made before.

        Raises
        ------
        GatewayError
            Whatever rule it breaks first.
        """
        once = None if key is None else Once(caller.user, key, digest_of(body))
        if once is not None:
            with self._db.read() as session:
                before = once.before(session)
            if before is not None:
                return before
        checked = self.check(caller, body)
        job = new_job(caller, checked)
        with self._db.write() as session:
            if once is not None and (before := once.before(session)) is not None:
                return before
            session.add(job)
            session.flush()
            job_id = job.id or 0
            if once is not None:
                once.keep(session, job_id)
            keep_additions(session, job, checked.asked)
            session.add(Transition(job_id=job_id, phase=str(Phase.CREATED), time=job.created))
            if checked.image.refdata_id is not None:
                session.add(JobRefdata(job_id=job_id, refdata_id=checked.image.refdata_id))
            session.add_all(_containers(job, checked))
            session.add_all(_inputs(job_id, checked))
            audit(session, caller, "job.submit", str(job_id), "ok")
        return job

    def check(self, caller: Caller, body: object) -> Checked:
        """Check a request whole; nothing is stored.

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
        with self._db.read() as session:
            require_active(session, asked.cluster, site)
        check_site(asked, asked.cluster, site)
        choice = choose(asked, caller, asked.cluster, site)
        with self._db.read() as session:
            check_dependencies(session, caller.user, asked)
        for path in _read(asked):
            access.require(self._config.path_rules, caller, path, "read")
        access.require(self._config.path_rules, caller, asked.output_dir, "write")
        image = self._images.get(asked.image)
        variant = self._images.variant(image, asked.cluster)
        refdata = refdata_mount_point(image, asked.params)
        listed = list_dirs(asked, self._objects)
        plan = make_plan(asked, listed + list_globs(asked, self._objects, sum(map(len, listed))))
        found = self._objects.inspect_all(
            [(item.path.bucket, item.path.key) for item in plan.everything]
        )
        _compare_checksums(plan.everything, found)
        target = parse_prefix(asked.output_dir)
        self._objects.check_writable(target.bucket, target.key)
        return Checked(asked, choice, image, variant, refdata, plan, found)


def new_job(caller: Caller, checked: Checked) -> Job:
    """Make the row of a job, not stored yet."""
    asked, time = checked.asked, store.now()
    image = {**pinned(checked.image, checked.variant), "refdata_mount_point": checked.refdata}
    given = asked.model_dump(mode="json", exclude_none=True)
    if not asked.input_files:
        del given["input_files"]
    return Job(
        user=caller.user,
        name=asked.name,
        image_name=checked.image.name,
        site=asked.cluster,
        phase=str(Phase.CREATED),
        created=time,
        updated=time,
        job_input=given,
        image=image,
        token=secrets.token_hex(32),
        num_containers=asked.num_containers,
        cpus=asked.cpus,
        memory=asked.memory,
        runtime=asked.runtime,
        partition=checked.choice.partition,
        qos=checked.choice.qos,
        account=checked.choice.account,
        retries=asked.retries or 0,
        input_file_count=len(checked.found),
        input_bytes=sum(info.size for info in checked.found),
        output_dir=asked.output_dir,
        declobber=asked.params.declobber,
        skip_check=asked.skip_existing,
    )


def _read(asked: JobInput) -> Iterator[str]:
    """Paths that a job reads; what is to be listed is allowed where the prefix is that holds all of it."""
    for item in (*asked.files, *asked.shared):
        yield item.file
    yield from asked.input_dirs or ()
    for text in asked.input_globs or ():
        yield str(directory(parse_glob(text)))


def _containers(job: Job, checked: Checked) -> Iterator[Container]:
    marks = fingerprints(
        job.user, checked.asked, checked.image, checked.plan, checked.found, checked.refdata
    )
    for each, mark in zip(checked.plan.containers, marks, strict=True):
        yield Container(
            job_id=job.id or 0,
            index=each.number,
            fingerprint=mark,
            phase=str(Phase.CREATED),
            args=each.args,
            environment=each.environment,
            generated=each.generated or None,
        )


def _inputs(job_id: int, checked: Checked) -> Iterator[InputFile]:
    """Make the rows of the inputs; one that each container gets has no container."""
    plan, found = checked.plan, checked.found
    for each in plan.containers:
        for position in each.files:
            item, path = plan.files[position], plan.paths[position]
            yield _input(job_id, each.number, position, item, path, found[position])
    for position, (item, path) in enumerate(zip(plan.shared, plan.shared_paths, strict=True)):
        yield _input(job_id, None, position, item, path, found[len(plan.files) + position])


def _input(
    job_id: int, container: int | None, position: int, item: AskedFile, path: str, info: ObjectInfo
) -> InputFile:
    return InputFile(
        job_id=job_id,
        container=container,
        position=position,
        bucket=item.path.bucket,
        key=item.path.key,
        path=path,
        size=info.size,
        etag=info.etag,
        part_sizes=info.part_sizes,
        crc64nvme=info.crc64nvme or item.crc64nvme,
        check_crc64nvme=item.crc64nvme is not None or _needs_crc(info),
    )


def _needs_crc(info: ObjectInfo) -> bool:
    """Whether the ETag alone cannot prove a download: it is no MD5, neither of the object nor of parts that are known."""
    return not info.etag_is_md5


def _compare_checksums(files: Sequence[AskedFile], found: Sequence[ObjectInfo]) -> None:
    for item, info in zip(files, found, strict=True):
        if (
            item.crc64nvme is not None
            and info.crc64nvme is not None
            and item.crc64nvme != info.crc64nvme
        ):
            raise GatewayError(
                AppCode.CHECKSUM_MISMATCH,
                f"{item.file}: the request gives the CRC64NVME {item.crc64nvme}, S3 has {info.crc64nvme}.",
            )
