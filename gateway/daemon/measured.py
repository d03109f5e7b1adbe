"""A site's Slurm, with the time taken of everything it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.daemon.metrics import Metrics
from gateway.slurm.protocol import Limits, Partition, Shown, SlurmBackend, TaskRecord, TaskState


class MeasuredBackend:
    """SlurmBackend: each call goes to another one as it is."""

    def __init__(self, inner: SlurmBackend, site: str, metrics: Metrics) -> None:
        self._inner = inner
        self.name, self.late = inner.name, inner.late
        self._site = site
        self._metrics = metrics

    def submit(self, script: str) -> str:
        """Submit a script."""
        with self._metrics.slurm(self._site, "submit"):
            return self._inner.submit(script)

    def queue(self) -> list[TaskState]:
        """Return all array tasks."""
        with self._metrics.slurm(self._site, "queue"):
            return self._inner.queue()

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """Return what the accounting holds."""
        with self._metrics.slurm(self._site, "accounting"):
            return self._inner.accounting(since)

    def cancel(self, slurm_job_ids: Sequence[str]) -> None:
        """End jobs."""
        with self._metrics.slurm(self._site, "cancel"):
            self._inner.cancel(slurm_job_ids)

    def limits(self) -> Limits:
        """Look Slurm's limits up."""
        with self._metrics.slurm(self._site, "limits"):
            return self._inner.limits()

    def partitions(self) -> list[Partition]:
        """Return the partitions."""
        with self._metrics.slurm(self._site, "partitions"):
            return self._inner.partitions()

    def expected_start(self, script: str, timeout: float) -> datetime | None:
        """Return when a script would start."""
        with self._metrics.slurm(self._site, "expected_start"):
            return self._inner.expected_start(script, timeout)

    def show(self, slurm_job_ids: Sequence[str], timeout: float) -> Shown:
        """Return all that Slurm says of jobs."""
        with self._metrics.slurm(self._site, "show"):
            return self._inner.show(slurm_job_ids, timeout)

    def close(self) -> None:
        """Give back what it holds."""
        self._inner.close()
