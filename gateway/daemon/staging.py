"""Jobs that stage something at a site, reference data or an image: gateway jobs like any other, of one container."""

from __future__ import annotations

import secrets
from typing import Any

from sqlmodel import Session

from gateway.daemon.site import Site
from gateway.jobs.states import Phase
from gateway.store import jobs
from gateway.store.tables import Container, InputFile, Job, Transition


def add_job(
    session: Session,
    site: Site,
    *,
    user: str,
    name: str,
    asked: dict[str, Any],
    image: dict[str, Any],
    archive: InputFile | None = None,
) -> int:
    """Add the job to the transaction; return its id.

    Parameters
    ----------
    user
        No name that anybody can have.
    asked
        Of `job_input`, what distinguishes the one kind from the other: `staging` is what the agent is to do.
    archive
        The one input, where there is one; its job is filled in here.
    """
    section, now, phase = site.section, jobs.now(), str(Phase.CREATED)
    mounts = {"input_mount_point": "/input_files", "output_mount_point": "/output_files"}
    job = Job(
        user=user,
        name=name,
        site=site.name,
        phase=phase,
        created=now,
        updated=now,
        job_input={"cluster": site.name, "params": mounts, "allow_empty_output": True, **asked},
        image=image,
        token=secrets.token_hex(32),
        num_containers=1,
        cpus=1,
        memory=section.refdata_memory,
        runtime=section.refdata_minutes * 60,
        partition=section.partition,
        qos=section.qos,
        account=section.account or next(iter(section.accounts), None),
        input_file_count=0 if archive is None else 1,
        input_bytes=0 if archive is None else archive.size,
        output_dir="",
    )
    session.add(job)
    session.flush()
    number = job.id or 0
    session.add(Transition(job_id=number, phase=phase, time=now))
    session.add(Container(job_id=number, index=0, phase=phase, args=[], environment={}))
    if archive is not None:
        archive.job_id = number
        session.add(archive)
    return number


def error_of(job: Job, container: Container) -> str:
    """Say in a sentence why a job that has ended did not stage what it was for."""
    if Phase.of(job.phase) is Phase.CANCELED:
        return f"its staging (job {job.id}) was canceled by {job.cancel_by}"
    said = (container.error or job.error or "it failed").removeprefix("failed: ")
    return f"its staging (job {job.id}) failed: {said}"
