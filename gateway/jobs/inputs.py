"""The inputs of a job: looked at in S3, shared out, and made into rows.

At submission; or later, where a job that it depends on is yet to write some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from gateway.errors import AppCode, GatewayError
from gateway.jobs.fingerprint import fingerprints
from gateway.jobs.globs import directory, parse_glob
from gateway.jobs.listing import list_dirs, list_globs
from gateway.jobs.model import JobInput
from gateway.jobs.parts import InputFile as AskedFile
from gateway.jobs.plan import Plan, make_plan
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectInfo, ObjectStore
from gateway.store import jobs as store
from gateway.store.tables import Container, InputFile, Job


@dataclass(frozen=True)
class Inputs:
    """A job's plan, and what S3 shows of `plan.everything`, in that order."""

    plan: Plan
    found: Sequence[ObjectInfo]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(info.size for info in self.found)


UNKNOWN = Inputs(Plan((), (), (), (), ()), ())


def look(asked: JobInput, objects: ObjectStore) -> Inputs:
    """Look at all inputs of a job and plan its containers.

    Raises
    ------
    GatewayError
        For an input that is not there or not what the job says, or a plan that cannot be.
    """
    plan = _plan(asked, objects)
    return Inputs(plan, _inspect(plan.everything, objects))


def _plan(asked: JobInput, objects: ObjectStore) -> Plan:
    listed = list_dirs(asked, objects)
    return make_plan(asked, listed + list_globs(asked, objects, sum(map(len, listed))))


def awaited(session: Session, asked: JobInput) -> list[str]:
    """Return the output directories of those jobs that have to end before this one begins."""
    jobs = [store.get(session, int(each.job_id)) for each in asked.depends_on or ()]
    return [job.output_dir for job in jobs if job is not None and not Phase.of(job.phase).terminal]


def check_early(asked: JobInput, objects: ObjectStore, dirs: Sequence[str]) -> bool:
    """Tell whether inputs may come to lie in directories that other jobs still write; if so, look at all the others.

    Raises
    ------
    GatewayError
        As `look`.
    """
    files = (*asked.files, *asked.shared)
    known = [item for item in files if not item.file.startswith(tuple(dirs))]
    listed = (
        *(asked.input_dirs or ()),
        *(str(directory(parse_glob(text))) for text in asked.input_globs or ()),
    )
    open_dirs = any(
        given.startswith(one) or one.startswith(given) for given in listed for one in dirs
    )
    if len(known) == len(files) and not open_dirs:
        return False
    _inspect(known, objects)
    if not open_dirs:
        _plan(asked, objects)
    return True


def rows(job: Job, asked: JobInput, inputs: Inputs) -> Iterator[Container | InputFile]:
    """Make the containers of a stored job, and their inputs; one that each container gets has no container."""
    number, plan, found = job.id or 0, inputs.plan, inputs.found
    for each, mark in zip(plan.containers, fingerprints(job, asked, plan, found), strict=True):
        yield Container(
            job_id=number,
            index=each.number,
            fingerprint=mark,
            phase=str(Phase.CREATED),
            args=each.args,
            environment=each.environment,
            generated=each.generated or None,
        )
    for each in plan.containers:
        for position in each.files:
            item, path = plan.files[position], plan.paths[position]
            yield _input(number, each.number, position, item, path, found[position])
    for position, (item, path) in enumerate(zip(plan.shared, plan.shared_paths, strict=True)):
        yield _input(number, None, position, item, path, found[len(plan.files) + position])


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
        # Where the ETag is no MD5, neither of the object nor of parts that are known, it cannot prove a download.
        check_crc64nvme=item.crc64nvme is not None or not info.etag_is_md5,
    )


def _inspect(files: Sequence[AskedFile], objects: ObjectStore) -> list[ObjectInfo]:
    """Look at objects; one that is not what the request gives as its CRC64NVME is refused."""
    found = objects.inspect_all([(item.path.bucket, item.path.key) for item in files])
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
    return found
