"""Where pyslurm is loaded: a process of its own, as the user of the jobs, that asks Slurm by its library.

It is not the daemon's process: Slurm's library ends the process that it is in when it is not content, and pyslurm holds
Python's lock for as long as Slurm takes to answer. Requests and answers are one JSON line each, as with `serve`; one after the other.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import IO, Any

from gateway.errors import SiteError
from gateway.slurm.serve import READY


def serve_pyslurm(source: IO[str], sink: IO[str]) -> int:
    """Answer requests from `source` on `sink` until `source` ends; returns the exit code.

    Raises
    ------
    SiteError
        When pyslurm is not there, cannot be loaded, or is for another Slurm than the one that runs.
    """
    os.umask(0o077)
    slurm = _Slurm(_load())
    operations: dict[str, Callable[..., Any]] = {
        "versions": slurm.versions,
        "submit": slurm.submit,
        "queue": slurm.queue,
        "accounting": slurm.accounting,
        "limits": slurm.limits,
        "partitions": slurm.partitions,
    }
    slurm.versions()
    print(READY, file=sink, flush=True)
    for line in source:
        number, operation, arguments = json.loads(line)
        try:
            reply = [number, True, operations[operation](*arguments)]
        except Exception as exc:  # noqa: BLE001 - the caller waits: every request gets an answer
            reply = [number, False, _said(exc)]
        print(json.dumps(reply), file=sink, flush=True)
    return 0


def _said(exc: Exception) -> str:
    return f"pyslurm: {str(exc) or repr(exc)}"


def _load() -> Any:
    try:
        import pyslurm  # noqa: PLC0415 - what it is about is whether it can be
    except ModuleNotFoundError as exc:
        if exc.name == "pyslurm":
            raise SiteError("pyslurm is not installed") from exc
        raise SiteError(f"pyslurm cannot be loaded: {exc}") from exc
    except ImportError as exc:  # of another Slurm's library
        raise SiteError(f"pyslurm cannot be loaded with the Slurm that is here: {exc}") from exc
    return pyslurm


class _Slurm:
    """The operations, each with arguments and an answer that are ready for JSON. Times are seconds since 1970."""

    def __init__(self, pyslurm: Any) -> None:
        self._py = pyslurm

    def versions(self) -> list[str]:
        """Return the versions of pyslurm and of slurmctld, which are of one release.

        Raises
        ------
        SiteError
            When they are not.
        """
        mine, theirs = str(self._py.__version__), str(self._config().version)
        if mine.split(".")[:2] != [str(int(part)) for part in theirs.split(".")[:2]]:
            raise SiteError(f"pyslurm {mine} does not match Slurm {theirs}: both must be of one release")  # fmt: skip
        return [mine, theirs]

    def _config(self) -> Any:
        try:
            return self._py.slurmctld.Config.load()
        except self._py.PyslurmError as exc:
            raise SiteError(_said(exc)) from exc

    def limits(self) -> list[Any]:
        """Return the largest array, the version, and what keeps the accounting."""
        config = self._config()
        return [config.max_array_size, config.version, config.accounting_storage_type]

    def submit(self, options: dict[str, Any]) -> list[Any]:
        """Submit; return Slurm's id, what Slurm says when there is none, and whether it was asked at all."""
        try:
            return [self._py.JobSubmitDescription(**options).submit(), "", True]
        except self._py.RPCError as exc:
            return [None, str(exc), True]
        except (TypeError, ValueError) as exc:  # of pyslurm, which looks at all options first
            return [None, f"pyslurm does not take its options: {exc}", False]

    def queue(self, user: str) -> list[list[Any]]:
        """Return a user's jobs in slurmctld."""
        uid = pwd.getpwnam(user).pw_uid
        return [
            [
                job.id,
                job.array_id,
                _task(job),
                job.array_tasks_waiting,
                job.comment or "",
                job.state,
                job.state_reason or "",
                job.allocated_nodes or "",
                job.priority or 0,
                job.start_time,
            ]
            for job in self._py.Jobs.load().values()
            if job.user_id == uid
        ]

    def accounting(self, user: str, since: int) -> list[list[Any]]:
        """Return a user's jobs in slurmdbd, their steps last."""
        wanted = self._py.db.JobFilter(users=[user], start_time=since)
        return [
            [
                job.id,
                job.array_id,
                _task(job),
                job.array_tasks_waiting,
                job.name or "",
                job.comment or "",
                f"{job.state} by {job.cancelled_by}" if _canceled(job) else job.state,
                f"{job.exit_code or 0}:{job.exit_code_signal or 0}",
                job.submit_time,
                job.start_time,
                job.end_time,
                job.elapsed_time or 0,
                job.cpus if job.start_time else 0,
                job.nodelist or "",
                [_step(step) for step in job.steps.values()],
            ]
            for job in self._py.db.Jobs.load(wanted).values()
        ]

    def partitions(self) -> list[list[Any]]:
        """Return the partitions: name, state, minutes, nodes, whether it is the default."""
        return [
            [
                each.name,
                each.state,
                each.max_time if isinstance(each.max_time, int) else None,
                each.total_nodes,
                bool(each.is_default),
            ]
            for each in self._py.Partitions.load().values()
        ]


def _task(job: Any) -> int | None:
    """Return the array task that an entry is of; pyslurm says None in place of 0, too."""
    if job.array_task_id is None and job.array_id and not job.array_tasks_waiting:
        return 0
    number: int | None = job.array_task_id
    return number


def _canceled(job: Any) -> bool:
    return job.state == "CANCELLED" and job.cancelled_by is not None


def _step(step: Any) -> list[Any]:
    stats = step.stats
    return [
        step.name or "",
        step.state,
        f"{step.exit_code or 0}:{step.exit_code_signal or 0}",
        step.start_time,
        step.end_time,
        step.elapsed_time or 0,
        float(stats.total_cpu_time or 0),
        stats.max_resident_memory or None,
        step.cpus or 0,
    ]
