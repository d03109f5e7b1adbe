"""Cleaning: what ended jobs leave in a site's work directory. Logs stay; a failed job keeps all of it for a time."""

from __future__ import annotations

from datetime import timedelta

import structlog

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.store import jobs as store
from gateway.store.db import Database

log = structlog.get_logger()
_PERIOD = 30.0
_NAMES = ("in", "out", "tmp", "grants", "container.json")


class Cleaner:
    """The clean loop of one site."""

    def __init__(self, database: Database, site: Site) -> None:
        self._db = database
        self._site = site
        self._after = (
            0  # the last job that was tried: those that cannot be cleaned hold up no other
        )

    def tick(self) -> float:
        """Remove the files of jobs that are complete or canceled, or failed some days ago; returns the seconds to wait."""
        kept = timedelta(days=self._site.section.keep_failed_days)
        with self._db.read() as session:
            found = store.uncleaned(session, self._site.name, store.now() - kept, self._after)
        for job in found:
            self._after = job.id or 0
            try:
                with one_job(self._after, "cleaning"):
                    self._clean(self._after, job.num_containers)
            except SiteError as exc:
                log.warning("clean.trouble", job=job.id, error=str(exc))
        if len(found) == store.MOST_UNCLEANED:
            return 0.0
        self._after = 0
        return _PERIOD

    def _clean(self, job_id: int, containers: int) -> None:
        folders = [self._site.container_dir(job_id, n) for n in range(containers)]
        paths = [f"{folder}/{name}" for folder in folders for name in _NAMES]
        self._site.hands.remove([*paths, f"{self._site.job_dir(job_id)}/job.json"])
        with self._db.write() as session:
            job = store.get(session, job_id)
            if job is not None:
                job.cleaned = True
                session.add(job)
