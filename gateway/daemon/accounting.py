"""A site's accounting as the poll loop asks it: seldom while it does not answer, for that is no news."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.slurm.protocol import TaskRecord

log = structlog.get_logger()
_LONGEST = 30.0
_LOOK_AGAIN = 600.0  # seconds until it is asked again whether there is one
_BEFORE = timedelta(minutes=5)  # the clocks of the gateway and of Slurm may differ by that

Key = tuple[str, int | None]


class Accounting:
    """What sacct says of jobs; nothing while it is away, and then it is asked less and less often."""

    def __init__(self, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0
        self._looked = clock()
        self.kept = True
        """Whether Slurm keeps one (`AccountingStorageType`): where not, nothing more will ever be known."""

    def records(self, created: Sequence[datetime]) -> dict[Key, TaskRecord] | None:
        """Return the records of the tasks of jobs made at these times, by Slurm job and array task: one sacct at the most.

        None while it does not answer: then a record that is missing says nothing.
        """
        if not created or not self._is_kept():
            return {}
        if self._clock() < self._not_before:
            return None
        since = min(created) - _BEFORE
        try:
            found = self._site.backend.accounting(since)
        except SiteError as exc:
            self._look()
            self._failures += 1
            wait = min(_LONGEST, 2.0 ** min(self._failures, 8))
            self._not_before = self._clock() + wait
            log.warning("accounting.silent", error=str(exc), again_in=wait)
            return None
        self._failures = 0
        return {(record.slurm_job_id, record.task): record for record in found}

    def _is_kept(self) -> bool:
        if not self.kept and self._clock() - self._looked >= _LOOK_AGAIN:
            self._look()
        return self.kept

    def _look(self) -> None:
        """See whether Slurm keeps an accounting at all; one that does not say keeps it as it was."""
        self._looked = self._clock()
        with contextlib.suppress(SiteError):
            self.kept = self._site.limits(fresh=True).accounting
