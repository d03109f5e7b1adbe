"""What Slurm says now, for who asks: when a site would start a job, the partitions of all sites, and how long jobs may be.

Nobody asks Slurm by looking at sites: what it said is kept for some seconds, and a site that is slow keeps nobody waiting.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from gateway import wire
from gateway.config import Config
from gateway.daemon.dryrun import scripts
from gateway.daemon.site import Site
from gateway.errors import ConfigError, SiteError
from gateway.jobs.anywhere import SECONDS
from gateway.jobs.limits import Seen
from gateway.slurm.protocol import Partition, SubmitLaterError
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.submissions import waiting_for_room
from gateway.store.tables import Job

_KEPT = 5.0  # seconds for which an answer serves
_OLD = 600.0
_PATIENCE = 3.0  # seconds that somebody waits for one
_IDLE = 3600.0
_PASSING = timedelta(seconds=30)  # for so long one is on its way to Slurm, and waits for nothing


def expected_start(config: Config, database: Database, site: Site, job: Job) -> datetime | None:
    """Ask a site when it would start a job that is not stored, by the first of the scripts that it would have.

    Raises
    ------
    GatewayError, SiteError, SubmitRefusedError
        As `SlurmBackend.expected_start`; also where there can be no script, and where others wait before it for room in Slurm,
        which knows nothing of them.
    """
    try:
        script = scripts(config, site, job)[0]
    except (ConfigError, ValueError) as exc:
        raise SiteError(f"its batch script cannot be made: {exc}") from exc
    path = f"{site.work}/.start-{secrets.token_hex(8)}.sbatch"
    site.hands.write_files([(path, script.encode("ascii"))])
    try:
        start = site.backend.expected_start(path, SECONDS)
    finally:
        site.hands.remove([path])
    with database.read() as session:
        before = waiting_for_room(session, site.name, now() - _PASSING)
    if before:
        raise SubmitLaterError(f"jobs wait in the gateway for room there: {before}")
    return start


class Looker:
    """Looks at the partitions of one site, when it is asked to; its loop does that, one look at a time."""

    def __init__(
        self,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
        patience: float = _PATIENCE,
    ) -> None:
        self.name = site.name
        self._site = site
        self._clock = clock
        self._patience = patience
        self._change = threading.Condition()
        self._wanted: float | None = None  # since when
        self._looked: float | None = None  # when it was last tried
        self._said: float | None = None
        self._now = wire.SlurmNow(backend=site.backend.name)

    def tick(self) -> float:
        """Look, if somebody wants to know; returns the seconds to wait."""
        if self._wanted is None:
            return _IDLE
        try:
            found = [_view(each) for each in self._site.backend.partitions()]
        except SiteError as exc:
            self._done(self._now.model_copy(update={"error": str(exc)}))
            raise
        self._said = self._clock()
        asked, backend = datetime.now(UTC), self._site.backend.name
        self._done(wire.SlurmNow(backend=backend, asked=asked, partitions=found))
        self._site.submit_limits()  # nobody waits for these
        return _IDLE

    def want(self) -> None:
        """Have it look, unless it has just done so."""
        with self._change:
            if self._looked is not None and self._clock() < self._looked + _KEPT:
                return
            if self._wanted is None:
                self._wanted = self._clock()
                self._site.look_wake.set()

    def known(self) -> Seen:
        """Return what was last seen, at once; where that is long ago it is looked at soon."""
        if self._looked is None or self._clock() >= self._looked + _OLD:
            self.want()
        return Seen(self._now.partitions or (), self._site.known_limits())

    def now(self) -> wire.SlurmNow:
        """Return what is known, after some seconds at most; one who had no answer before waits for none."""
        with self._change:
            if self._wanted is not None and self._now.error is None:
                left = self._wanted + self._patience - self._clock()
                self._change.wait_for(lambda: self._wanted is None, max(0.0, left))
            if self._said is None:
                return self._now
            age = round(max(0.0, self._clock() - self._said), 1)
            return self._now.model_copy(update={"age_seconds": age})

    def _done(self, now: wire.SlurmNow) -> None:
        with self._change:
            self._now, self._looked, self._wanted = now, self._clock(), None
            self._change.notify_all()


def look(lookers: Iterable[Looker]) -> dict[str, wire.SlurmNow]:
    """Have all look at one time; return what each site's Slurm says, or said last."""
    some = list(lookers)
    for each in some:
        each.want()
    return {each.name: each.now() for each in some}


def _view(partition: Partition) -> wire.SlurmPartition:
    return wire.SlurmPartition(
        name=partition.name,
        state=partition.state,
        default=partition.default,
        max_runtime_min=partition.max_minutes,
        nodes=partition.nodes,
        nodes_allocated=partition.allocated,
        nodes_idle=partition.idle,
        nodes_other=partition.other,
    )
