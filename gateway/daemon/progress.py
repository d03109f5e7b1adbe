"""status.json: how far a container's transfers are, read where it runs when somebody asks.

Whoever has broken out of a container may have written it: nothing of it is taken that is not of the form of
docs/node-protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway import wire
from gateway.daemon.result import Count, Times
from gateway.daemon.site import Site
from gateway.errors import SiteError

log = structlog.get_logger()


class _Status(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    phase: str
    times: Times
    bytes_done: Count = 0
    bytes_total: Count = 0
    bytes_per_second: Count = 0


class ProgressRoad:
    """Reads how far containers are, at their sites."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self._sites = sites

    def __call__(self, site: str, job_id: int, container: wire.Container) -> bool:
        """See `gateway.jobs.service.ProgressReader`."""
        if site not in self._sites:
            return False
        where = self._sites[site]
        try:
            data = where.hands.read_file(
                f"{where.container_dir(job_id, container.index)}/status.json"
            )
        except SiteError:
            return False
        if data is None:
            return True
        try:
            status = _Status.model_validate_json(data)
        except ValidationError as exc:
            log.warning("status.refused", container=container.id, error=str(exc).splitlines()[0])
            return True
        if status.phase != container.phase:
            return True  # its letter is on the way, or it is of an earlier attempt
        container.times = {name: list(times) for name, times in status.times.items()}
        if status.bytes_total:
            container.progress = wire.Progress(
                bytes_done=min(status.bytes_done, status.bytes_total),
                bytes_total=status.bytes_total,
                bytes_per_second=status.bytes_per_second,
            )
        return True
