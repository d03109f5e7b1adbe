"""`cts-helper [--check] WORK_DIR`: the site's hands, run as the user of the jobs. Started by the daemon, not by people.

With `--check` it leaves the work directory's lock to the daemon that runs, and submits nothing.
"""

from __future__ import annotations

import sys

from gateway.errors import SiteError
from gateway.slurm.serve import serve


def main() -> int:
    """Serve the daemon on standard input and output."""
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    directories = arguments[1:] if check else arguments
    if len(directories) != 1 or not directories[0].startswith("/"):
        sys.stderr.write(
            "usage: cts-helper [--check] WORK_DIR, an absolute path "
            "(the daemon starts this as the user of the jobs)\n"
        )
        return 2
    try:
        return serve(directories[0], sys.stdin, sys.stdout, exclusive=not check)
    except SiteError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
