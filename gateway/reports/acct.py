"""The accounting: rows for jobs, containers and phases, from what the database holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from gateway import wire
from gateway.ids import JobRef
from gateway.store import jobs as store
from gateway.store import listing
from gateway.store.submissions import slurm_name
from gateway.store.tables import Container, InputFile, Job, OutputFile

_PHASES = ("stage-in", "run", "stage-out")
_BATCH = 500  # jobs that are looked up together


@dataclass(frozen=True)
class Wanted:
    """Which rows; what is empty or None is all.

    `phases` are as jobs store them, `words` Slurm's for how a job ended, as `state_of` has them: one of either will do. `refs`
    are jobs, containers or phases; `limit` is of jobs, the newest.
    """

    user: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    phases: Sequence[str] = ()
    words: Sequence[str] = ()
    refs: Sequence[JobRef] = ()
    accounts: Sequence[str] = ()
    sites: Sequence[str] = ()
    partitions: Sequence[str] = ()
    qos: Sequence[str] = ()
    names: Sequence[str] = ()
    limit: int = 10_000


def rows(
    session: Session, wanted: Wanted, reader: listing.Reader | None = None
) -> list[wire.AcctRow]:
    """Return rows of jobs that were there between two times, each job's followed by its containers' and phases'.

    Of the jobs that are named, those that are shared with `reader` are there, too.
    """
    query = _query(wanted, reader).order_by(col(Job.id).desc())
    names = tuple(str(ref) for ref in wanted.refs)
    found: list[list[wire.AcctRow]] = []
    last: int | None = None
    while len(found) < wanted.limit:
        more = query if last is None else query.where(col(Job.id) < last)
        size = min(_BATCH, wanted.limit - len(found)) if not wanted.words else _BATCH
        jobs = session.exec(more.limit(size)).all()
        sums = _Sums.of(session, [job.id or 0 for job in jobs])
        for job in jobs:
            rows = _of_job(job, sums)
            if not wanted.words or job.phase in wanted.phases or rows[0].State in wanted.words:
                found.append([row for row in rows if _named(row.JobID, names)])
        if len(jobs) < size:
            break
        last = jobs[-1].id
    return [row for rows in reversed(found[: wanted.limit]) for row in rows]


def _query(wanted: Wanted, reader: listing.Reader | None) -> SelectOfScalar[Job]:
    query = select(Job)
    if wanted.user is not None:
        mine = col(Job.user) == wanted.user
        query = query.where(or_(mine, listing.shared(reader)) if wanted.refs and reader else mine)
    if wanted.refs:
        query = query.where(store.among(col(Job.id), {ref.job_id for ref in wanted.refs}))
    if wanted.start is not None:
        query = query.where(or_(Job.updated >= wanted.start, col(Job.phase).not_in(store.ENDED)))
    if wanted.end is not None:
        query = query.where(Job.created < wanted.end)
    phases = {*wanted.phases, *(phase for word in wanted.words for phase in PHASES_OF[word])}
    for column, values in (
        (col(Job.phase), phases),
        (col(Job.account), wanted.accounts),
        (col(Job.site), wanted.sites),
        (col(Job.partition), wanted.partitions),
        (col(Job.qos), wanted.qos),
        (col(Job.name), wanted.names),
    ):
        if values:
            query = query.where(column.in_(values))
    return query


# Slurm's words for states (sacct(1), "JOB STATE CODES"), and the phases of the jobs that may be in them.
_WAITING = ("created", "submitting", "pending")
PHASES_OF: dict[str, tuple[str, ...]] = {
    "PENDING": _WAITING,
    "RUNNING": ("stage-in", "run", "stage-out"),
    "COMPLETING": ("settling", "failing", "canceling"),
    "COMPLETED": ("complete",),
    "CANCELLED": ("canceled", "error"),
    **dict.fromkeys(
        (
            *("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"),
            *("PREEMPTED", "BOOT_FAIL", "DEADLINE"),
        ),
        ("error",),
    ),
}
_OF_PHASE = {
    phase: word for word, phases in PHASES_OF.items() for phase in phases if phase != "error"
}


def state_of(container: Container) -> str:
    """Return Slurm's word for a container: where the gateway's agent ended it, that of what Slurm would have done for it."""
    if container.phase != "error":
        return _OF_PHASE[container.phase]
    result = container.result or {}
    slurm = (container.slurm_state or "").split(" ", maxsplit=1)[0].rstrip("+")
    steps = (container.usage or {}).get("steps", [])
    memory = any(str(step.get("state")).startswith("OUT_OF_ME") for step in steps)
    if memory or result.get("memory_ran_out") or slurm.startswith("OUT_OF_ME"):
        return "OUT_OF_MEMORY"
    if result.get("outcome") == "timeout":
        return "TIMEOUT"
    told = result.get("outcome") in (None, "canceled", "agent-failed")
    return slurm if told and slurm in PHASES_OF and slurm != "COMPLETED" else "FAILED"


def _state_of_job(job: Job, containers: Sequence[Container]) -> str:
    """Return the word of a job: of one that failed, that of its first container that did."""
    if job.phase != "error":
        return _OF_PHASE[job.phase]
    return next((state_of(each) for each in containers if each.phase == "error"), "FAILED")


def _named(identifier: str, names: Sequence[str]) -> bool:
    return not names or any(
        identifier == name or identifier.startswith((f"{name}_", f"{name}.")) for name in names
    )


@dataclass(frozen=True)
class _Sums:
    """What some jobs have: containers by job, number and bytes of files by job and container."""

    containers: dict[int, list[Container]]
    inputs: dict[tuple[int, int | None], tuple[int, int]]
    outputs: dict[tuple[int, int | None], tuple[int, int]]

    def read(self, container: Container) -> tuple[int, int]:
        """Number and bytes of what a container reads: its own inputs and those that all of its job get."""
        own = self.inputs.get((container.job_id, container.index), (0, 0))
        shared = self.inputs.get((container.job_id, None), (0, 0))
        return own[0] + shared[0], own[1] + shared[1]

    @classmethod
    def of(cls, session: Session, ids: Sequence[int]) -> _Sums:
        containers: dict[int, list[Container]] = {number: [] for number in ids}
        for row in store.containers(session, ids):
            containers[row.job_id].append(row)
        return cls(
            containers,
            store.file_sums(session, InputFile, ids),
            store.file_sums(session, OutputFile, ids),
        )


def _of_job(job: Job, sums: _Sums) -> list[wire.AcctRow]:
    containers = sums.containers[job.id or 0]
    parts = [_of_container(job, container, sums) for container in containers]
    heads = [part[0] for part in parts]
    starts = [row.Start for row in heads if row.Start is not None]
    ends = [row.End for row in heads if row.End is not None]
    nodes = job.job_input.get("nodes") or 1
    waits = [row.QueueWait for row in heads if row.QueueWait is not None]
    total = wire.AcctRow(
        **_common(job),
        JobID=str(job.id),
        State=_state_of_job(job, containers),
        Phase=job.phase,
        ExitCode=_code(_first_failed(containers)) if containers else "",
        Start=min(starts, default=None),
        End=max(ends, default=None) if job.phase in store.ENDED else None,
        Elapsed=(max(ends) - min(starts)).total_seconds() if starts and ends else None,
        NCPUS=job.cpus * nodes * job.num_containers,
        NGPUS=_gpus(job) * nodes * job.num_containers,
        ReqMem=job.memory,
        MaxRSS=job.max_memory,
        TotalCPU=_sum(row.TotalCPU for row in heads),
        NNodes=nodes * len({row.NodeList for row in heads if row.NodeList}),
        NodeList=",".join(sorted({row.NodeList for row in heads if row.NodeList})),
        SlurmID=",".join(sorted({c.slurm_job_id for c in containers if c.slurm_job_id})),
        Inputs=job.input_file_count,
        Outputs=sum(row.Outputs or 0 for row in heads),
        InBytes=job.input_bytes,
        OutBytes=sum(row.OutBytes or 0 for row in heads),
        QueueWait=max(waits, default=None),
        StageIn=_longest(row.StageIn for row in heads),
        StageOut=_longest(row.StageOut for row in heads),
        CPUEff=job.cpu_factor,
        MemEff=job.max_memory / job.memory if job.max_memory else None,
    )
    return [total, *(row for part in parts for row in part)]


def _gpus(job: Job) -> int:
    return job.job_input.get("gpus") or 0


def _first_failed(containers: Sequence[Container]) -> Container:
    """Return the container whose exit code is the job's: the first that is not 0, or not known."""
    failed = [each for each in containers if each.exit_code]
    unknown = [each for each in containers if each.exit_code is None]
    return [*failed, *unknown, *containers][0]


def _code(container: Container) -> str:
    """Return Slurm's form, `code:signal`; the code is empty while, or where, there is none."""
    code = container.exit_code
    return f"{code if code is not None else ''}:{container.signal or 0}"


def _common(job: Job) -> dict[str, Any]:
    image = job.image
    return {
        "JobName": job.name or str(image["name"]).rpartition("/")[2],
        "User": job.user,
        "Account": job.account,
        "Partition": job.partition,
        "QOS": job.qos,
        "Site": job.site,
        "Image": f"{image['name']}:{image['tag']}" if image.get("tag") else str(image["name"]),
        "Digest": str(image["digest"]),
        "Refdata": image.get("refdata_id"),
        "Submit": job.created,
        "Timelimit": job.runtime,
    }


def _of_container(job: Job, container: Container, sums: _Sums) -> list[wire.AcctRow]:
    usage = container.usage or {}
    nodes = job.job_input.get("nodes") or 1
    steps = {str(step["name"]): step for step in usage.get("steps", [])}
    start, submit = _time(usage.get("start")), _time(usage.get("submit"))
    elapsed = usage.get("elapsed")
    allocated = (elapsed or 0) * (usage.get("cpus") or 1)
    key = container.job_id, container.index
    inputs, outputs = sums.read(container), sums.outputs.get(key, (0, 0))
    head = wire.AcctRow(
        **_common(job),
        JobID=f"{job.id}_{container.index}",
        State=state_of(container),
        Phase=container.phase,
        ExitCode=_code(container),
        Start=start,
        End=_time(usage.get("end")),
        Elapsed=elapsed,
        NCPUS=usage.get("cpus") or job.cpus * nodes,
        NGPUS=_gpus(job) * nodes,
        ReqMem=job.memory,
        MaxRSS=usage.get("max_rss"),
        TotalCPU=usage.get("cpu_seconds"),
        NNodes=nodes if container.node else 0,
        NodeList=container.node,
        SlurmID=slurm_name(container),
        Inputs=inputs[0],
        Outputs=outputs[0],
        InBytes=inputs[1],
        OutBytes=outputs[1],
        QueueWait=(start - submit).total_seconds() if start and submit else None,
        StageIn=steps.get("stage-in", {}).get("elapsed"),
        StageOut=steps.get("stage-out", {}).get("elapsed"),
        CPUEff=usage["cpu_seconds"] / allocated if allocated else None,
        MemEff=usage["max_rss"] / job.memory if usage.get("max_rss") else None,
    )
    times = (container.result or {}).get("times") or {}
    phases = [_of_phase(container, phase, times.get(phase), steps.get(phase)) for phase in _PHASES]
    return [head, *(row for row in phases if row is not None)]


def _of_phase(
    container: Container, phase: str, times: Sequence[str | None] | None, step: Any
) -> wire.AcctRow | None:
    """Return the row of a phase: by the agent's times, which are finer; else by those of Slurm's job step."""
    if step is None and not times:
        return None
    known = step or {}
    begin, end = [*(times or (known.get("start"), known.get("end"))), None, None][:2]
    first, last = _time(begin), _time(end)
    elapsed = (last - first).total_seconds() if first is not None and last is not None else None
    return wire.AcctRow(
        JobID=f"{container.job_id}_{container.index}.{phase}",
        JobName=phase,
        State=known.get("state"),
        ExitCode=known.get("exit_code"),
        Start=first,
        End=last,
        Elapsed=elapsed,
        MaxRSS=known.get("max_rss"),
        TotalCPU=known.get("cpu_seconds"),
        NodeList=container.node,
    )


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _longest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
