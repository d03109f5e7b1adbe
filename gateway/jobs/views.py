"""From rows of the database to the bodies of the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from gateway import wire
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store import listing
from gateway.store.submissions import slurm_jobs, slurm_name
from gateway.store.tables import (
    Container,
    InputFile,
    Job,
    OutputFile,
    Submission,
    Transition,
)

# Fields of a job that may have megabytes: not in lists.
_LARGE = ("input_files", "shared_inputs", "script", "per_container_args")


def status(session: Session, job: Job) -> wire.JobStatus:
    """A job's state and how it came to it."""
    return _status(job, store.transitions(session, job.id or 0))


def preview(session: Session, job: Job) -> wire.JobPreview:
    """A job without its files."""
    return previews(session, [job])[0]


def previews(session: Session, jobs: Sequence[Job]) -> list[wire.JobPreview]:
    """Jobs without their files."""
    ids = [job.id or 0 for job in jobs]
    counts = store.counts(session, ids)
    history: dict[int, list[Transition]] = {}
    for row in store.transitions(session, ids):
        history.setdefault(row.job_id, []).append(row)
    slurm = slurm_jobs(session, ids)
    return [
        wire.JobPreview(
            **_status(job, history.get(number, [])).model_dump(),
            name=job.name,
            job_input={k: value for k, value in job.job_input.items() if k not in _LARGE},
            image=wire.JobImage(**job.image),
            input_file_count=job.input_file_count,
            output_file_count=job.output_file_count,
            cpu_hours=job.cpu_hours,
            cpu_factor=job.cpu_factor,
            max_memory=job.max_memory,
            error=job.error,
            logpath=job.logpath,
            partition=job.partition,
            qos=job.qos,
            account=job.account,
            slurm_jobs=slurm.get(number, []),
            containers=counts.get(number, {}),
        )
        for number, job in zip(ids, jobs, strict=True)
    ]


def full(session: Session, job: Job) -> wire.Job:
    """A job with its inputs (with their checksums) and the outputs that were seen in S3."""
    body = preview(session, job).model_dump()
    rows = store.inputs(session, job.id or 0)
    # Each once: of an array, every container has them all.
    own = list({row.position: row for row in rows if row.container is not None}.values())
    shared = [row for row in rows if row.container is None]
    files: dict[str, Any] = {}
    for field, among in (("input_files", own), ("shared_inputs", shared)):
        if field in job.job_input:
            files[field] = _files(job.job_input[field], among)
    found = job.job_input.get("input_dirs") or job.job_input.get("input_globs")
    listed = own[len(job.job_input.get("input_files", [])) :] if found else []
    body["job_input"] = {**job.job_input, **files}
    return wire.Job(
        **body,
        outputs=[output(row) for row in store.outputs(session, job.id or 0) if row.verified],
        shared_with=_shared_with(session, job.id or 0),
        listed_files=[wire.ListedFile(**_file(None, row)) for row in listed],
    )


def _files(given: Sequence[Any], rows: Sequence[InputFile]) -> list[dict[str, Any]]:
    """Files as they were given, with the checksums that were found."""
    return [_file(item, row) for item, row in zip(given, rows, strict=False)]


def _file(given: Any, row: InputFile) -> dict[str, Any]:
    file = {"file": f"{row.bucket}/{row.key}", "crc64nvme": row.crc64nvme}
    if isinstance(given, dict) and given.get("data_id") is not None:
        file["data_id"] = given["data_id"]
    return file


def submission(row: Submission) -> wire.Submission:
    """One Slurm submission."""
    return wire.Submission(**row.model_dump(include=set(wire.Submission.model_fields)))


def _shared_with(session: Session, job_id: int) -> wire.Sharing:
    names: dict[str, list[str]] = {"user": [], "group": []}
    for each in listing.shares(session, job_id):
        names[each.kind].append(each.name)
    return wire.Sharing(users=names["user"], groups=names["group"])


def output(row: OutputFile) -> wire.Output:
    """One output."""
    return wire.Output(
        file=f"{row.bucket}/{row.key}", crc64nvme=row.crc64nvme, size=row.size, etag=row.etag
    )


def container(session: Session, row: Container) -> wire.Container:
    """One container, with its outputs."""
    return _container(row, store.outputs(session, row.job_id, row.index))


def containers(session: Session, job_id: int) -> list[wire.Container]:
    """All containers of a job, with their outputs."""
    outputs: dict[int, list[OutputFile]] = {}
    for each in store.outputs(session, job_id):
        outputs.setdefault(each.container, []).append(each)
    return [
        _container(row, outputs.get(row.index, [])) for row in store.containers(session, job_id)
    ]


def _status(job: Job, history: Sequence[Transition]) -> wire.JobStatus:
    times = [
        wire.TransitionTime(
            state=_wire(row.phase), time=row.time, phase=row.phase, detail=row.detail
        )
        for row in history
    ]
    return wire.JobStatus(
        id=str(job.id),
        user=job.user,
        state=_wire(job.phase),
        phase=job.phase,
        reason=job.reason,
        cancel_by=job.cancel_by,
        transition_times=times,
        admin_meta=job.admin_meta,
    )


def _container(row: Container, outputs: Sequence[OutputFile]) -> wire.Container:
    return wire.Container(
        index=row.index,
        id=f"{row.job_id}_{row.index}",
        state=_wire(row.phase),
        phase=row.phase,
        exit_code=row.exit_code,
        signal=row.signal,
        slurm_job_id=slurm_name(row),
        slurm_state=row.slurm_state,
        node=row.node,
        times=(row.result or {}).get("times") or {},
        outputs=[output(each) for each in outputs if each.verified],
        error=row.error,
        log_truncated=(row.result or {}).get("log_truncated") is True,
        reason=None if row.skipped is None else f"skipped: done by {row.skipped}",
        attempt=len(row.earlier) + 1,
        earlier=[wire.Attempt(**each) for each in row.earlier],
    )


def _wire(phase: str) -> wire.WireState:
    return Phase.of(phase).wire  # type: ignore[return-value]
