"""Job, container and phase identifiers as users write them: `1234`, `1234_0`, `1234_0.stage-in`.

These are the gateway's own; Slurm's ids are plain strings called `slurm_job_id` and never parsed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import AppCode, GatewayError

PHASES = ("stage-in", "run", "stage-out")

_ID = re.compile(r"([1-9][0-9]{0,17})(?:_(0|[1-9][0-9]{0,5})(?:\.([a-z-]+))?)?", re.ASCII)


@dataclass(frozen=True, order=True)
class JobRef:
    """What an identifier names: a job, one of its containers, or a phase of one container."""

    job_id: int
    container: int | None = None
    phase: str | None = None

    def __str__(self) -> str:
        text = str(self.job_id)
        if self.container is not None:
            text += f"_{self.container}"
        if self.phase is not None:
            text += f".{self.phase}"
        return text


def parse_ref(text: str) -> JobRef:
    """Read `1234`, `1234_0` or `1234_0.run`.

    Raises
    ------
    GatewayError
        NO_SUCH_JOB when the text is no identifier at all: to the asker there is no such job.
    """
    match = _ID.fullmatch(text)
    if match is None or (match[3] is not None and match[3] not in PHASES):
        raise GatewayError(
            AppCode.NO_SUCH_JOB,
            f"No such job: {text[:100]!r}. A job is a positive whole number such as 1234, a container "
            f"1234_0, a phase 1234_0.run ({', '.join(PHASES)}).",
        )
    return JobRef(int(match[1]), int(match[2]) if match[2] is not None else None, match[3])


def parse_job_id(text: str) -> int:
    """Read a job id alone; containers and phases are not taken.

    Raises
    ------
    GatewayError
        NO_SUCH_JOB.
    """
    ref = parse_ref(text)
    if ref.container is not None:
        raise GatewayError(
            AppCode.NO_SUCH_JOB,
            f"{text[:100]!r} names a container; a job is wanted here: {ref.job_id}.",
        )
    return ref.job_id
