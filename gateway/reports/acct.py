"""The accounting: rows for jobs, containers and phases, from what the database holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from gateway import wire
from gateway.ids import JobRef
from gateway.store import jobs as store
from gateway.store.tables import Container, Job

_PHASES = ("stage-in", "run", "stage-out")


def rows(
    session: Session,
    *,
    user: str | None,
    start: datetime | None,
    end: datetime | None,
    states: Sequence[str],
    refs: Sequence[JobRef],
    limit: int,
    accounts: dict[str, str | None],
) -> list[wire.AcctRow]:
    """Return rows of jobs that were there between two times, each job's followed by its containers' and phases'.

    Parameters
    ----------
    user
        Whose jobs; None for everyone's.
    states
        Phases of jobs, as they are stored; empty for all.
    refs
        Jobs, containers or phases wanted; empty for all.
    accounts
        The Slurm account of each site.
    """
    query = select(Job)
    if user is not None:
        query = query.where(Job.user == user)
    if refs:
        query = query.where(col(Job.id).in_({ref.job_id for ref in refs}))
    if start is not None:
        query = query.where(Job.updated >= start)
    if end is not None:
        query = query.where(Job.created < end)
    if states:
        query = query.where(col(Job.phase).in_(states))
    found: list[wire.AcctRow] = []
    for job in session.exec(query.order_by(col(Job.id).desc()).limit(limit)).all()[::-1]:
        found += [
            row for row in _of_job(session, job, accounts.get(job.site)) if _wanted(row.JobID, refs)
        ]
    return found


def _wanted(identifier: str, refs: Sequence[JobRef]) -> bool:
    names = [str(ref) for ref in refs]
    return not refs or any(
        identifier == name or identifier.startswith((f"{name}_", f"{name}.")) for name in names
    )


def _of_job(session: Session, job: Job, account: str | None) -> list[wire.AcctRow]:
    containers = store.containers(session, job.id or 0)
    outputs: dict[int, list[int]] = {}
    for row in store.outputs(session, job.id or 0):
        if row.verified:
            outputs.setdefault(row.container, []).append(row.size)
    inputs: dict[int, list[int]] = {}
    for item in store.inputs(session, job.id or 0):
        inputs.setdefault(item.container, []).append(item.size)
    parts = [
        _of_container(
            job,
            account,
            container,
            inputs.get(container.index, []),
            outputs.get(container.index, []),
        )
        for container in containers
    ]
    heads = [part[0] for part in parts]
    starts = [row.Start for row in heads if row.Start is not None]
    ends = [row.End for row in heads if row.End is not None]
    waits = [row.QueueWait for row in heads if row.QueueWait is not None]
    codes = [container.exit_code for container in containers if container.exit_code]
    total = wire.AcctRow(
        **_common(job, account),
        JobID=str(job.id),
        State=job.phase.upper(),
        ExitCode=f"{codes[0] if codes else 0}:0",
        Start=min(starts, default=None),
        End=max(ends, default=None) if job.phase in store.ENDED else None,
        Elapsed=(max(ends) - min(starts)).total_seconds() if starts and ends else None,
        NCPUS=job.cpus * job.num_containers,
        ReqMem=job.memory,
        MaxRSS=job.max_memory,
        TotalCPU=_sum(row.TotalCPU for row in heads),
        NNodes=len({row.NodeList for row in heads if row.NodeList}),
        NodeList=",".join(sorted({row.NodeList for row in heads if row.NodeList})),
        SlurmID=",".join(sorted({c.slurm_job_id for c in containers if c.slurm_job_id})),
        Inputs=job.input_file_count,
        Outputs=sum(len(sizes) for sizes in outputs.values()),
        InBytes=job.input_bytes,
        OutBytes=sum(sum(sizes) for sizes in outputs.values()),
        QueueWait=max(waits, default=None),
        StageIn=_longest(row.StageIn for row in heads),
        StageOut=_longest(row.StageOut for row in heads),
        CPUEff=job.cpu_factor,
        MemEff=job.max_memory / job.memory if job.max_memory else None,
    )
    return [total, *(row for part in parts for row in part)]


def _common(job: Job, account: str | None) -> dict[str, Any]:
    image = job.image
    return {
        "JobName": job.name or str(image["name"]).rpartition("/")[2],
        "User": job.user,
        "Account": account,
        "Site": job.site,
        "Image": f"{image['name']}:{image['tag']}" if image.get("tag") else str(image["name"]),
        "Digest": str(image["digest"]),
        "Submit": job.created,
    }


def _of_container(
    job: Job,
    account: str | None,
    container: Container,
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> list[wire.AcctRow]:
    usage = container.usage or {}
    steps = {str(step["name"]): step for step in usage.get("steps", [])}
    start, submit = _time(usage.get("start")), _time(usage.get("submit"))
    elapsed = usage.get("elapsed")
    allocated = (elapsed or 0) * (usage.get("cpus") or 1)
    name = f"{job.id}_{container.index}"
    code = (
        f"{container.exit_code if container.exit_code is not None else ''}:{container.signal or 0}"
    )
    head = wire.AcctRow(
        **_common(job, account),
        JobID=name,
        State=container.phase.upper(),
        ExitCode=code,
        Start=start,
        End=_time(usage.get("end")),
        Elapsed=elapsed,
        NCPUS=usage.get("cpus") or job.cpus,
        ReqMem=job.memory,
        MaxRSS=usage.get("max_rss"),
        TotalCPU=usage.get("cpu_seconds"),
        NNodes=1 if container.node else 0,
        NodeList=container.node,
        SlurmID=f"{container.slurm_job_id}_{container.index}" if container.slurm_job_id else None,
        Inputs=len(inputs),
        Outputs=len(outputs),
        InBytes=sum(inputs),
        OutBytes=sum(outputs),
        QueueWait=(start - submit).total_seconds() if start and submit else None,
        StageIn=steps.get("stage-in", {}).get("elapsed"),
        StageOut=steps.get("stage-out", {}).get("elapsed"),
        CPUEff=usage["cpu_seconds"] / allocated if allocated else None,
        MemEff=usage["max_rss"] / job.memory if usage.get("max_rss") else None,
    )
    times = (container.result or {}).get("times") or {}
    rows = [head]
    for phase in _PHASES:
        step = steps.get(phase)
        begin, end = (times.get(phase) or [None, None])[:2]
        if step is None and begin is None:
            continue
        seconds = None
        first, last = _time(begin), _time(end)
        if first is not None and last is not None:
            seconds = (last - first).total_seconds()
        rows.append(
            wire.AcctRow(
                JobID=f"{name}.{phase}",
                JobName=phase,
                State=(step or {}).get("state"),
                ExitCode=(step or {}).get("exit_code"),
                Start=first,
                End=last,
                Elapsed=seconds,
                MaxRSS=(step or {}).get("max_rss"),
                TotalCPU=(step or {}).get("cpu_seconds"),
                NodeList=container.node,
            )
        )
    return rows


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _longest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
