"""`cts-helper [--check] WORK_DIR`: the site's hands, run as the user of the jobs. Started by the daemon, not by people.

`cts-helper --pyslurm` asks Slurm by its library instead. With `--check` it leaves the work directory's lock to the daemon that runs, and submits nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from gateway.errors import SiteError
from gateway.slurm.pyslurm_serve import serve_pyslurm
from gateway.slurm.serve import serve


def main() -> int:
    """Serve the daemon on standard input and output."""
    arguments = sys.argv[1:]
    if arguments == ["--pyslurm"]:
        return _run(lambda: serve_pyslurm(sys.stdin, sys.stdout))
    check = arguments[:1] == ["--check"]
    directories = arguments[1:] if check else arguments
    if len(directories) != 1 or not directories[0].startswith("/"):
        sys.stderr.write(
            "usage: cts-helper [--check] WORK_DIR, an absolute path "
            "(the daemon starts this as the user of the jobs)\n"
        )
        return 2
    return _run(lambda: serve(directories[0], sys.stdin, sys.stdout, exclusive=not check))


def _run(serving: Callable[[], int]) -> int:
    try:
        return serving()
    except SiteError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
