"""The phases of jobs, the two letters that squeue(1) would show for them, and Slurm's words for states."""

from __future__ import annotations

from gateway.cli import common

# phase: (two letters, state on the wire), in the order in which a job comes to them.
PHASES = {
    "created": ("PD", "created"),
    "submitting": ("PD", "job_submitting"),
    "pending": ("PD", "job_submitted"),
    "stage-in": ("SI", "job_submitted"),
    "run": ("R", "job_submitted"),
    "stage-out": ("SO", "upload_submitted"),
    "settling": ("CG", "upload_submitted"),
    "failing": ("CG", "error_processing_submitted"),
    "canceling": ("CG", "canceling"),
    "complete": ("CD", "complete"),
    "error": ("F", "error"),
    "canceled": ("CA", "canceled"),
}
ENDED = ("complete", "error", "canceled")
RUNNING = ("stage-in", "run", "stage-out")
LIVE = tuple(phase for phase in PHASES if phase not in ENDED)

_LONG = {
    "PD": "PENDING",
    "SI": "STAGE_IN",
    "R": "RUNNING",
    "SO": "STAGE_OUT",
    "CG": "COMPLETING",
    "CD": "COMPLETED",
    "F": "FAILED",
    "CA": "CANCELLED",
}
_WORDS = {
    "pending": ("created", "submitting", "pending"),
    "r": RUNNING,
    "running": RUNNING,
    "completing": ("settling", "failing", "canceling"),
    "completed": ("complete",),
    "failed": ("error",),
    "cancelled": ("canceled",),
    "all": tuple(PHASES),
}


def code(phase: str) -> str:
    """Return the two letters of a phase; the phase itself when it is of a newer gateway."""
    return PHASES.get(phase, (phase, ""))[0]


def word(phase: str) -> str:
    """Return the word for a phase, as squeue's long one; the phase itself when it is of a newer gateway."""
    return _LONG.get(code(phase), phase)


def phases(option: str, text: str) -> list[str]:
    """Read `PD,running,error,job_submitted,stage-in` into phases; ends the command for any other word."""
    found: list[str] = []
    for word in (part.strip().lower() for part in text.split(",")):
        named = _WORDS.get(word) or [
            phase
            for phase, (letters, wire) in PHASES.items()
            if word in (phase, letters.lower(), wire)
        ]
        if not named:
            common.fail(
                f"{option}: there is no state {word!r}; write PD, R, CG, CD, F, CA, all, or a phase: "
                f"{', '.join(PHASES)}",
                common.BAD_INPUT,
            )
        found += named
    return [phase for phase in PHASES if phase in found]


# How jobs that have ended did so, in the letters of sacct(1); the rest of Slurm's words are those of `word`.
_ENDS = {
    "CD": "COMPLETED",
    "F": "FAILED",
    "CA": "CANCELLED",
    "TO": "TIMEOUT",
    "OOM": "OUT_OF_MEMORY",
    "NF": "NODE_FAIL",
    "PR": "PREEMPTED",
    "BF": "BOOT_FAIL",
    "DL": "DEADLINE",
}


def accounted(option: str, text: str) -> list[str]:
    """Read `CD,TO,running,error` into phases, and Slurm's words for how a job ended."""
    found: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        ended = _ENDS.get(name.upper(), name.upper())
        found += [ended] if ended in _ENDS.values() else phases(option, name)
    return list(dict.fromkeys(found))
