"""Cleaning: what ended jobs leave in a site's work directory. A failed job keeps all of it for a time.

Logs stay when the rest goes: until they are in S3, or where none are put there, for `keep_logs_days`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store import leftovers
from gateway.store.db import Database

log = structlog.get_logger()
_PERIOD = 30.0
_NAMES = ("in", "out", "tmp", "grants", "container.json")


class Cleaner:
    """The clean loop of one site."""

    def __init__(self, database: Database, site: Site, *, uploads: bool = False) -> None:
        self._db = database
        self._site = site
        self._uploads = uploads
        # The last jobs that were tried: those that cannot be cleaned hold up no other.
        self._after = 0
        self._after_logs = 0

    def tick(self) -> float:
        """Remove the files of jobs that are complete or canceled, or failed some days ago; returns the seconds to wait."""
        more = self._files()
        more = self._directories() or more
        return 0.0 if more else _PERIOD

    def _files(self) -> bool:
        """Remove what jobs leave besides their logs; tell whether there may be more of it."""
        kept = timedelta(days=self._site.section.keep_failed_days)
        with self._db.read() as session:
            found = store.uncleaned(session, self._site.name, store.now() - kept, self._after)
        for job in found:
            self._after = job.id or 0
            with _told(self._after):
                self._clean(self._after, job.num_containers)
        if len(found) == store.MOST_UNCLEANED:
            return True
        self._after = 0
        return False

    def _directories(self) -> bool:
        """Remove whole directories, logs and all; tell whether there may be more of them."""
        kept = timedelta(days=self._site.section.keep_logs_days)
        before = None if self._uploads else store.now() - kept
        with self._db.read() as session:
            found = leftovers.removable(session, self._site.name, before, self._after_logs)
        for job in found:
            self._after_logs = job.id or 0
            with _told(self._after_logs):
                self._remove(self._after_logs)
        if len(found) == store.MOST_UNCLEANED:
            return True
        self._after_logs = 0
        return False

    def _remove(self, job_id: int) -> None:
        with self._site.files_lock:
            if not self._ended(job_id):
                return
            self._site.hands.remove([self._site.job_dir(job_id)])
            with self._db.write() as session:
                job = store.get(session, job_id)
                if job is not None and Phase.of(job.phase).terminal:
                    job.cleaned, job.logs_cleaned, job.clean = True, True, None
                    session.add(job)

    def _clean(self, job_id: int, containers: int) -> None:
        folders = [self._site.container_dir(job_id, n) for n in range(containers)]
        paths = [f"{folder}/{name}" for folder in folders for name in _NAMES]
        with self._site.files_lock:
            if not self._ended(job_id):
                return
            self._site.hands.remove([*paths, f"{self._site.job_dir(job_id)}/job.json"])
            with self._db.write() as session:
                job = store.get(session, job_id)
                if job is not None and Phase.of(job.phase).terminal:
                    job.cleaned = True
                    session.add(job)

    def _ended(self, job_id: int) -> bool:
        """Whether a job has still ended: it may have been restarted in this moment, and its files written anew."""
        with self._db.read() as session:
            job = store.get(session, job_id)
        return job is not None and Phase.of(job.phase).terminal


@contextmanager
def _told(job_id: int) -> Iterator[None]:
    """Keep trouble over one job's files from the others."""
    try:
        with one_job(job_id, "cleaning"):
            yield
    except SiteError as exc:
        log.warning("clean.trouble", job=job_id, error=str(exc))
