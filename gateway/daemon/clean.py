"""Cleaning: what ended jobs leave in a site's work directory. Logs stay; a failed job keeps all of it for a time."""

from __future__ import annotations

from gateway.daemon.site import Site
from gateway.store import jobs as store
from gateway.store.db import Database

_PERIOD = 30.0
_NAMES = ("in", "out", "tmp", "home", "grants", "container.json")


class Cleaner:
    """The clean loop of one site."""

    def __init__(self, database: Database, site: Site) -> None:
        self._db = database
        self._site = site

    def tick(self) -> float:
        """Remove the files of complete and canceled jobs; returns the seconds to wait."""
        with self._db.read() as session:
            jobs = [
                (job.id or 0, job.num_containers)
                for job in store.uncleaned(session, self._site.name)
            ]
        for job_id, containers in jobs:
            paths = [
                f"{self._site.container_dir(job_id, n)}/{name}"
                for n in range(containers)
                for name in _NAMES
            ]
            self._site.hands.remove([*paths, f"{self._site.job_dir(job_id)}/job.json"])
            with self._db.write() as session:
                job = store.get(session, job_id)
                if job is not None:
                    job.cleaned = True
                    session.add(job)
        return _PERIOD
