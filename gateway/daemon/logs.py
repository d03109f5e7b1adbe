"""Logs: into S3 when a job has ended, by the daemon out of the work directory, and read from where they are.

The daemon does it and not the node: so it works whatever became of the container, and no key goes to a node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from gateway.daemon.later import Later
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.s3.client import ObjectStore
from gateway.s3.logs import LogArea
from gateway.store import jobs as store
from gateway.store import leftovers
from gateway.store.db import Database
from gateway.store.tables import Job

log = structlog.get_logger()
STREAMS = ("stdout", "stderr")
_PERIOD = 30.0
_AGAIN = 15.0  # seconds until a job whose logs could not be stored is tried again
_PIECE = 1 << 20
_THREADS = 4  # each holds a part of a log


class LogKeeper:
    """Puts the logs of one site's ended jobs into S3.

    Parameters
    ----------
    area
        `bucket` or `bucket/prefix`; below it a log is `<job>/<container>/stdout`, of a container's node K > 0 `stdout.K`.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        site: Site,
        area: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = database
        self._site = site
        self._area = area
        self._logs = LogArea(objects)
        self._later = Later(_AGAIN, 3, clock)
        self._after = 0
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="logs")

    def tick(self) -> float:
        """Store what is not in S3 yet; returns the seconds to wait."""
        self._later.new_round()
        with self._db.read() as session:
            found = leftovers.logs_unstored(session, self._site.name, self._after)
        waits = False
        for job in found:
            number = self._after = job.id or 0
            if not self._later.may(number):
                waits = True
                continue
            with one_job(number, "storing logs", partial(self._explain, job)):
                try:
                    self._store(job)
                except (GatewayError, SiteError) as exc:
                    log.warning("logs.trouble", job=number, error=str(exc))
                    self._explain(job, str(exc))
                    self._later.failed(number)
                    waits = True
        if len(found) == store.MOST_UNCLEANED and not self._later.over:
            return 0.0
        self._after = 0
        return _AGAIN if waits else _PERIOD

    def _store(self, job: Job) -> None:
        number = job.id or 0
        with self._db.read() as session:
            whole = store.get(session, number)
            nodes = 1 if whole is None else whole.job_input.get("nodes") or 1
        names = [
            stream if rank == 0 else f"{stream}.{rank}"
            for rank in range(nodes)
            for stream in STREAMS
        ]
        logs = [(index, name) for index in range(job.num_containers) for name in names]
        stored = list(self._pool.map(lambda each: self._put(number, *each), logs))
        with self._db.write() as session:
            row = store.get(session, number)
            if row is None or row.updated != job.updated:
                return  # it went on meanwhile
            row.logpath = f"{self._area}/{number}" if any(stored) else None
            row.logs_stored, row.reason = max(store.now(), row.updated), None
            session.add(row)
        self._site.clean_wake.set()

    def _put(self, number: int, index: int, stream: str) -> bool:
        """Store one log; tell whether there was one."""
        path = f"{self._site.container_dir(number, index)}/{stream}"
        size = self._site.hands.size(path)
        if size is None:
            return False
        bucket, key = place(f"{self._area}/{number}", index, stream)
        self._logs.put(bucket, key, self._pieces(path, size))
        return True

    def _pieces(self, path: str, size: int) -> Iterator[bytes]:
        seek = 0
        while seek < size:
            piece = self._site.hands.read_file(path, seek, min(_PIECE, size - seek))
            if not piece:
                raise SiteError(f"{path} has become shorter")
            seek += len(piece)
            yield piece

    def _explain(self, job: Job, why: str) -> None:
        """Say with the job, which has ended, why its logs are not in S3."""
        with self._db.write() as session:
            row = store.get(session, job.id or 0)
            if row is not None and row.updated == job.updated:
                row.reason = f"its logs are not in S3 yet, and it is tried again: {why}"
                session.add(row)


class LogRoad:
    """Reads logs: at the site, and where they are not there any more, in S3."""

    def __init__(self, database: Database, objects: ObjectStore, sites: Mapping[str, Site]) -> None:
        self._db = database
        self._sites = sites
        self._logs = LogArea(objects)

    def __call__(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        """See `gateway.jobs.service.LogReader`."""
        trouble: SiteError | None = None
        try:
            found = self._at_site(site, job_id, container, stream, seek, length)
        except SiteError as exc:
            found, trouble = None, exc
        if found is not None:
            return found
        with self._db.read() as session:
            job = store.get(session, job_id)
        if job is not None and job.logpath is not None:
            bucket, key = place(job.logpath, container, stream)
            return self._logs.read(bucket, key, seek, length)
        if trouble is not None:
            raise trouble
        if site not in self._sites:
            raise GatewayError(
                AppCode.NO_LOGS,
                f"The logs of job {job_id} are at the site {site}, which is not configured any more.",
            )
        if job is not None and job.logs_cleaned:
            raise GatewayError(AppCode.NO_LOGS, f"The logs of job {job_id} are not kept any more.")
        return None

    def _at_site(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        if site not in self._sites:
            return None
        hands = self._sites[site].hands
        path = f"{self._sites[site].container_dir(job_id, container)}/{stream}"
        size = hands.size(path)
        if size is None:
            return None
        pieces: list[bytes] = []
        left = max(0, size - seek) if length is None else min(length, max(0, size - seek))
        while left > 0:
            piece = hands.read_file(path, seek, min(left, _PIECE))
            if not piece:
                break
            pieces.append(piece)
            seek += len(piece)
            left -= len(piece)
        return b"".join(pieces), size


def place(logpath: str, container: int, stream: str) -> tuple[str, str]:
    """Return bucket and key of a log below a job's `logpath`."""
    bucket, _, prefix = logpath.partition("/")
    return bucket, f"{prefix}/{container}/{stream}"
