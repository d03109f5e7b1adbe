"""A lock file, so that two commands do not change the same thing at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devclusterlib.settings import ClusterError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file, and say so when that means waiting for another holder. It ends with the process.

    Raises
    ------
    ClusterError
        When its directory, which is in the cache, cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as exc:
        raise ClusterError(
            f"the cache directory {path.parent} cannot be written ({exc.strerror}); choose another with --cache"
        ) from exc
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"  waiting: another command is at work on {what}", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _still(file.fileno(), path):
                continue  # its holder has removed it with what it locked
            yield
            return


def _still(fd: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
