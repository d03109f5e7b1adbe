"""Every state of Slurm, what it means for a container, and the sentence a user reads.

Source: the JOB STATE CODES of squeue(1) and sacct(1), Slurm 22.05 to 26.05.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class Meaning(Enum):
    """What a state of Slurm says about the task: it waits, it goes on, or it has ended."""

    WAITING = "waiting"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True)
class StateRow:
    """One row of the table. `message` is for a container that ended so without saying more itself."""

    meaning: Meaning
    message: str = ""


LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
"""Ends that are no fault of a container's: it runs again, as often as its site says."""

_W, _A, _E = Meaning.WAITING, Meaning.ACTIVE, Meaning.ENDED

TABLE: dict[str, StateRow] = {
    "PENDING": StateRow(_W),
    "CONFIGURING": StateRow(_W),
    "REQUEUED": StateRow(_W),
    "REQUEUE_FED": StateRow(_W),
    "REQUEUE_HOLD": StateRow(_W),
    "SPECIAL_EXIT": StateRow(_W),
    "RESV_DEL_HOLD": StateRow(_W),
    "RUNNING": StateRow(_A),
    "COMPLETING": StateRow(_A),
    "SUSPENDED": StateRow(_A),
    "STOPPED": StateRow(_A),
    "SIGNALING": StateRow(_A),
    "RESIZING": StateRow(_A),
    "STAGE_OUT": StateRow(_A),
    "POWER_UP_NODE": StateRow(_W),
    # Flags of a job that Slurm puts back into the queue (or ends in another of these states): no ends.
    "EXPEDITING": StateRow(_W),
    "LAUNCH_FAILED": StateRow(_W),
    "RECONFIG_FAIL": StateRow(_W),
    "COMPLETED": StateRow(
        _E, "ended in Slurm as COMPLETED but left no result; its node or file system lost it"
    ),
    "FAILED": StateRow(_E, "failed in Slurm (FAILED) before it could say why; see its logs"),
    "TIMEOUT": StateRow(_E, "ran into Slurm's time limit (TIMEOUT); ask for a longer runtime"),
    "OUT_OF_MEMORY": StateRow(
        _E, "needed more memory than was asked for (OUT_OF_MEMORY); ask for more memory"
    ),
    "NODE_FAIL": StateRow(_E, "lost its compute node (NODE_FAIL); submit the job again"),
    "BOOT_FAIL": StateRow(
        _E, "never started because its node failed to boot (BOOT_FAIL); submit the job again"
    ),
    "PREEMPTED": StateRow(
        _E, "was preempted by a job of higher priority (PREEMPTED); submit the job again"
    ),
    "DEADLINE": StateRow(_E, "could not end before its deadline (DEADLINE); ask for less runtime"),
    "CANCELLED": StateRow(_E, "was cancelled in Slurm (CANCELLED) and not through the gateway"),
    "REVOKED": StateRow(
        _E, "was revoked by the federation (REVOKED); it runs on another cluster or nowhere"
    ),
    # No state of Slurm's: what has left squeue, where no accounting is kept that could say how.
    "FORGOTTEN": StateRow(
        _E,
        "is not in Slurm any more, which keeps no accounting, and left no result (FORGOTTEN); see its logs",
    ),
}


@lru_cache(maxsize=1024)
def lookup(state: str) -> StateRow:
    """Find a state as squeue or sacct write it (`CANCELLED by 2001`, `OUT_OF_ME+`).

    A state that no known Slurm has, or one cut so short that it may be several, counts as active: no news, never an end.
    """
    word = state.strip().split(" ", maxsplit=1)[0]
    row = TABLE.get(word.rstrip("+"))
    if row is None and word.endswith("+"):
        found = [value for name, value in TABLE.items() if name.startswith(word.rstrip("+"))]
        row = found[0] if len(found) == 1 else None
    return row or StateRow(_A)
