"""`cts-helper WORK_DIR`: the site's hands, run as the user of the jobs. Started by the daemon, not by people."""

from __future__ import annotations

import sys

from gateway.errors import SiteError
from gateway.slurm.helper import serve


def main() -> int:
    """Serve the daemon on standard input and output."""
    if len(sys.argv) != 2 or not sys.argv[1].startswith("/"):
        sys.stderr.write(
            "usage: cts-helper WORK_DIR (the daemon starts this as the user of the jobs)\n"
        )
        return 2
    try:
        return serve(sys.argv[1], sys.stdin, sys.stdout)
    except SiteError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
