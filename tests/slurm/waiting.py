"""What the tests of hands and helpers wait for, and ask of a work directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands


def can_lock(work: Path) -> bool:
    """Whether nobody holds the lock of a work directory."""
    try:
        LocalHands(str(work)).close()
    except SiteError:
        return False
    return True


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
