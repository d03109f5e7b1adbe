"""Where jobs stand in Slurm's queue: among the tasks of the gateway that wait there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.slurm.protocol import TaskState


@dataclass(frozen=True)
class Wait:
    """A job's place: `position` counts from 1; `expected_start` is Slurm's, of the first of its tasks, where it says one."""

    position: int
    expected_start: datetime | None


def in_queue(waiting: Iterable[tuple[int, TaskState]]) -> dict[int, Wait]:
    """Return the place of each job of which a task waits, by Slurm's priority and, where that is the same, by age.

    Parameters
    ----------
    waiting
        The tasks that wait, each with its job.
    """
    # What is held has priority 0: its start is when it might begin if it were released.
    order = sorted(
        waiting, key=lambda pair: (-pair[1].priority, int(pair[1].slurm_job_id), pair[1].task or 0)
    )
    found: dict[int, Wait] = {}
    for position, (job_id, task) in enumerate(order, 1):
        known = found.get(job_id)
        if known is None:
            found[job_id] = Wait(position, task.start if task.priority else None)
        elif (
            task.priority
            and task.start is not None
            and (known.expected_start is None or task.start < known.expected_start)
        ):
            found[job_id] = Wait(known.position, task.start)
    return found
