"""The command line of the agent: `batch <job.json> <k> [<n>]` and `step <phase> <job.json> <k> <n>`.

`k` is the number of the submission, `n` that of the container. Each loads what it needs only: a container starts this four times.
"""

from __future__ import annotations

import os
import sys
from typing import List, Optional

_USAGE = "usage: batch JOB_JSON K [N] | step stage-in|run|stage-out JOB_JSON K N"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the agent; return its exit code (64 for a wrong command line)."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if len(words) in (3, 4) and words[0] == "batch":
            from .batch import batch  # noqa: PLC0415 - see above

            only = int(words[3]) if len(words) == 4 else None
            return batch(words[1], int(words[2]), os.environ, only)
        if len(words) == 5 and words[0] == "step" and words[1] in ("stage-in", "run", "stage-out"):
            from .steps import step  # noqa: PLC0415 - see above

            return step(words[1], words[2], int(words[3]), int(words[4]))
    except ValueError as exc:
        print(f"{exc}; {_USAGE}", file=sys.stderr)
        return 64
    print(_USAGE, file=sys.stderr)
    return 64
