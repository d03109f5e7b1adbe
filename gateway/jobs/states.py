"""The phases of a job and of its containers, their order, and the states they show on the wire.

Phases only move forward. `docs/states.md` has the picture.
"""

from __future__ import annotations

from enum import Enum
from typing import get_args

from gateway.errors import AppCode, GatewayError
from gateway.wire import WireState


class Phase(Enum):
    """A finer state: (name, rank, state on the wire). A higher rank is later; ends share the top."""

    CREATED = ("created", 0, "created")
    SUBMITTING = ("submitting", 10, "job_submitting")
    PENDING = ("pending", 20, "job_submitted")
    STAGE_IN = ("stage-in", 30, "job_submitted")
    RUN = ("run", 40, "job_submitted")
    STAGE_OUT = ("stage-out", 50, "upload_submitted")
    SETTLING = ("settling", 60, "upload_submitted")
    FAILING = ("failing", 65, "error_processing_submitted")
    CANCELING = ("canceling", 70, "canceling")
    COMPLETE = ("complete", 100, "complete")
    ERROR = ("error", 100, "error")
    CANCELED = ("canceled", 100, "canceled")

    @property
    def rank(self) -> int:
        """Position in the way of a job; transitions go to a higher rank only."""
        return self.value[1]

    @property
    def wire(self) -> str:
        """The state of the CTS protocol that this phase is shown as."""
        return self.value[2]

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after it."""
        return self.rank == 100

    def __str__(self) -> str:
        return self.value[0]

    @classmethod
    def of(cls, name: str) -> Phase:
        """Find a phase by its name, as the database holds it.

        Raises
        ------
        KeyError
            When there is no phase of that name.
        """
        return _BY_NAME[name]


_BY_NAME = {phase.value[0]: phase for phase in Phase}

WIRE_STATES: tuple[str, ...] = get_args(WireState)


def may_follow(old: Phase, new: Phase) -> bool:
    """Whether `new` may come after `old`: forward only, and nothing after an end."""
    return not old.terminal and new.rank > old.rank


def phases_of_wire(state: str) -> list[Phase]:
    """All phases shown as that state on the wire; none for the states this gateway does not use."""
    return [phase for phase in Phase if phase.wire == state]


def phases_named(word: str) -> list[str]:
    """Return the names of the phases that a state of the wire, or a phase, means.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER for any other word.
    """
    names = [str(phase) for phase in Phase]
    if word in WIRE_STATES:
        # A state that this gateway never has must match nothing, not everything.
        return [str(phase) for phase in phases_of_wire(word)] or [word]
    if word in names:
        return [word]
    known = ", ".join(dict.fromkeys([*WIRE_STATES, *names]))
    raise GatewayError(
        AppCode.ILLEGAL_PARAMETER, f"state: there is no state {word[:100]!r}; there are {known}"
    )
