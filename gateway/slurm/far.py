"""The hands of a site at the far end of an SSH connection: `ssh.py` sends this there as text, with what it needs, and runs it."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from typing import Any

from gateway.errors import SiteError
from gateway.slurm.serve import serve


class _Heard(io.FileIO):
    """A file that knows when something was last read from it."""

    at = 0.0

    def readinto(self, buffer: Any) -> int | None:
        """See `io.RawIOBase.readinto`."""
        count = super().readinto(buffer)
        self.at = time.monotonic()
        return count


def main(work_dir: str, exclusive: bool, silence: float) -> int:
    """Serve the daemon on standard input and output; end by force when it has not been heard for `silence` seconds.

    A connection that was cut somewhere on its way may look alive from here for hours, and the work directory's lock with
    it: no other hands could take it. A daemon that lives says something more often than that. An sbatch that is under
    way at a forced end keeps the lock until it has ended, as it does when a helper is killed.
    """
    source = _Heard(0)
    source.at = time.monotonic()

    def watch() -> None:
        while time.monotonic() - source.at < silence:
            time.sleep(silence / 10)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    lines = io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8")
    try:
        return serve(work_dir, lines, sys.stdout, exclusive=exclusive)
    except SiteError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
