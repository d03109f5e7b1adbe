"""The agent's command line: `batch JOB.JSON K FIRST` and `step PHASE JOB.JSON N`."""

from __future__ import annotations

import sys
from typing import List, Optional

_USAGE = "usage: batch JOB.JSON K FIRST | step stage-in|run|stage-out JOB.JSON N (Slurm's batch script calls this)"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the agent; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if len(words) == 4 and words[0] == "batch":
        from .batch import batch  # noqa: PLC0415 - a step does not need it

        return batch(words[1], int(words[2]), int(words[3]))
    if len(words) == 4 and words[0] == "step" and words[1] in ("stage-in", "run", "stage-out"):
        from .steps import step  # noqa: PLC0415

        return step(words[1], words[2], int(words[3]))
    print(_USAGE, file=sys.stderr)
    return 2
