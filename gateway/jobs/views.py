"""From rows of the database to the bodies of the wire."""

from __future__ import annotations

from sqlmodel import Session

from gateway import wire
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store.tables import Container, Image, Job, OutputFile


def status(session: Session, job: Job) -> wire.JobStatus:
    """A job's state and how it came to it."""
    times = [
        wire.TransitionTime(state=_wire(row.phase), time=row.time, phase=row.phase)
        for row in store.transitions(session, job.id or 0)
    ]
    return wire.JobStatus(
        id=str(job.id),
        user=job.user,
        state=_wire(job.phase),
        phase=job.phase,
        reason=job.reason,
        transition_times=times,
        admin_meta=job.admin_meta,
    )


def preview(session: Session, job: Job) -> wire.JobPreview:
    """A job without its files."""
    given = {key: value for key, value in job.job_input.items() if key != "input_files"}
    slurm = [
        s.slurm_job_id
        for s in store.submissions(session, job.id or 0)
        if s.slurm_job_id is not None
    ]
    return wire.JobPreview(
        **status(session, job).model_dump(),
        name=job.name,
        job_input=given,
        image=wire.Image(**job.image),
        input_file_count=job.input_file_count,
        output_file_count=job.output_file_count,
        cpu_hours=job.cpu_hours,
        cpu_factor=job.cpu_factor,
        max_memory=job.max_memory,
        error=job.error,
        logpath=None,
        slurm_jobs=slurm,
        containers=store.counts(session, job.id or 0),
    )


def full(session: Session, job: Job) -> wire.Job:
    """A job with its inputs (with their checksums) and the outputs that were seen in S3."""
    body = preview(session, job).model_dump()
    files = [
        {"file": f"{row.bucket}/{row.key}", "crc64nvme": row.crc64nvme}
        for row in store.inputs(session, job.id or 0)
    ]
    body["job_input"] = {**body["job_input"], "input_files": files}
    return wire.Job(
        **body, outputs=[output(row) for row in store.outputs(session, job.id or 0) if row.verified]
    )


def output(row: OutputFile) -> wire.Output:
    """One output."""
    return wire.Output(file=f"{row.bucket}/{row.key}", crc64nvme=row.crc64nvme, size=row.size)


def container(session: Session, row: Container) -> wire.Container:
    """One container, with its outputs."""
    firsts = {s.id: s.first for s in store.submissions(session, row.job_id)}
    slurm = None
    if row.slurm_job_id is not None:
        slurm = f"{row.slurm_job_id}_{row.index - firsts.get(row.submission_id, 0)}"
    outputs = [
        output(each) for each in store.outputs(session, row.job_id, row.index) if each.verified
    ]
    return wire.Container(
        index=row.index,
        id=f"{row.job_id}_{row.index}",
        state=_wire(row.phase),
        phase=row.phase,
        exit_code=row.exit_code,
        signal=row.signal,
        slurm_job_id=slurm,
        slurm_state=row.slurm_state,
        node=row.node,
        times=(row.result or {}).get("times") or {},
        outputs=outputs,
        error=row.error,
    )


def image(row: Image) -> wire.Image:
    """An approved image."""
    return wire.Image(
        name=row.name,
        digest=row.digest,
        tag=row.tag,
        entrypoint=row.entrypoint,
        registered_by=row.registered_by,
        registered_on=row.registered_on,
    )


def _wire(phase: str) -> wire.WireState:
    return Phase.of(phase).wire  # type: ignore[return-value]
