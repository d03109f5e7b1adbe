"""What the gateway asks of a site's Slurm, whatever road leads there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import SiteError


class SubmitRefusedError(Exception):
    """Slurm said no to a submission: nothing was queued and asking again would give the same answer."""


class SubmitLaterError(SiteError):
    """Slurm said that it cannot take the submission now (a limit is reached): nothing was queued."""


@dataclass(frozen=True)
class TaskState:
    """One array task, as squeue shows it. Times are UTC; `reason` is Slurm's word for why it waits.

    `priority` is Slurm's, `start` when it began or, of one that waits, when Slurm expects it to.
    """

    slurm_job_id: str
    task: int | None
    tag: str
    state: str
    reason: str
    node: str
    priority: int = 0
    start: datetime | None = None


@dataclass(frozen=True)
class StepRecord:
    """One job step in the accounting: name, state, exit code `code:signal`, seconds, bytes."""

    name: str
    state: str
    exit_code: str
    start: datetime | None
    end: datetime | None
    elapsed: float
    cpu_seconds: float
    max_rss: int | None
    cpus: int = 0


@dataclass(frozen=True)
class TaskRecord:
    """One array task in the accounting, with its steps."""

    slurm_job_id: str
    task: int | None
    name: str
    comment: str
    state: str
    exit_code: str
    submit: datetime | None
    start: datetime | None
    end: datetime | None
    elapsed: float
    cpus: int
    node: str
    steps: tuple[StepRecord, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What Slurm is configured with: array indexes are 0 .. max_array_size - 1; `accounting` is whether it keeps one."""

    max_array_size: int
    version: str
    accounting: bool = True


MOST_SHOWN = 16 << 20  # characters of a document for people


@dataclass(frozen=True)
class Partition:
    """A partition as Slurm has it now: `state` is UP, DOWN, DRAIN or INACTIVE; `max_minutes` of a job, None without a limit.

    Of its nodes, `allocated` have something to do, `idle` nothing, and `other` can have nothing to do now: drained, down,
    reserved. All three are None where the road does not tell.
    """

    name: str
    state: str
    max_minutes: int | None
    nodes: int
    default: bool
    allocated: int | None = None
    idle: int | None = None
    other: int | None = None


@dataclass(frozen=True)
class Shown:
    """What Slurm says of some jobs, as it says it: documents of its controller and of its accounting, or why there is none."""

    controller: object | None = None
    controller_error: str | None = None
    accounting: object | None = None
    accounting_error: str | None = None


class SlurmBackend(Protocol):
    """Slurm at one site. Every method raises SiteError for 'no news', which proves nothing."""

    name: str
    """As the configuration has it: cli, ssh, rest or pyslurm."""

    late: float
    """Seconds for which a submission whose answer was lost may still come to Slurm, whatever became of the gateway.

    0 where the lock of the work directory tells that it will not.
    """

    def submit(self, script: str) -> str:
        """Submit the script at that path; return Slurm's job id.

        Raises SubmitRefusedError or SubmitLaterError when Slurm answered; any other SiteError leaves it open
        whether the job was queued.
        """

    def queue(self) -> list[TaskState]:
        """Return all array tasks of the gateway that slurmctld knows, ended ones it still holds included: one squeue."""

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """Return what the accounting holds of the gateway's jobs since that time: one sacct."""

    def cancel(self, slurm_job_ids: Sequence[str]) -> None:
        """End those jobs (`77`) or array tasks (`77_3`); what has ended already is no error."""

    def limits(self) -> Limits:
        """Look Slurm's limits up; also what is asked to see whether slurmctld answers."""

    def partitions(self) -> list[Partition]:
        """Return the partitions that the user of the jobs may see, as they are now."""

    def expected_start(self, script: str, timeout: float) -> datetime | None:
        """Return when the script at that path would start if it were submitted now; nothing is queued.

        None where this road has no way to ask. A time in the past, or of this moment, is at once. At most `timeout` seconds
        are waited. Raises SubmitRefusedError as `submit` does, and SubmitLaterError where Slurm cannot start it as things
        are: nodes or a partition that are out of service.
        """

    def show(self, slurm_job_ids: Sequence[str], timeout: float) -> Shown:
        """Return all that Slurm says of jobs (`77`) or array tasks (`77_3`), within `timeout` seconds for each question.

        For people who look; raises nothing: what went wrong stands in the answer.
        """

    def close(self) -> None:
        """Give back what it holds: connections, a process."""
