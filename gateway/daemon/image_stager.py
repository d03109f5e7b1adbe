"""Staging images at a site: a loop that makes a job for each that is to be in the cache there, and follows it.

As with reference data, the job is a gateway job like any other, of one container without inputs; only the agent does something
else in it: it converts the image, under the lock by which jobs do (docs/node-protocol.md).
"""

from __future__ import annotations

import structlog
from sqlmodel import Session

from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.daemon.staging import add_job, error_of
from gateway.errors import GatewayError, SiteError
from gateway.images.service import ImageRegistry, Variant
from gateway.images.views import pinned
from gateway.jobs.sites import why_inactive
from gateway.jobs.states import Phase
from gateway.store import images as store
from gateway.store import jobs
from gateway.store.db import Database
from gateway.store.tables import Container, Image, ImageSite

log = structlog.get_logger()
USER = "(images)"  # of the jobs that stage: no name that anybody can have
_IDLE = 30.0
_BUSY = 1.0


class ImageStager:
    """The images loop of one site."""

    def __init__(self, database: Database, site: Site, registry: ImageRegistry) -> None:
        self._db = database
        self._site = site
        self._registry = registry

    def tick(self) -> float:
        """Bring everything one step on; returns the seconds to wait."""
        with self._db.read() as session:
            found = store.to_stage(session, self._site.name)
        for row, image in found:
            with one_job(row.job_id or 0, f"staging the image {image.name}"):
                try:
                    self._step(row, image)
                except SiteError as exc:
                    log.warning("images.trouble", image=image.name, error=str(exc))
        return _BUSY if found else _IDLE

    def _step(self, row: ImageSite, image: Image) -> None:
        if row.job_id is not None:
            self._follow(row)
        elif self._active():
            self._begin(row, image)

    def _active(self) -> bool:
        with self._db.read() as session:
            return why_inactive(session, self._site.name, self._site.section) is None

    def _begin(self, row: ImageSite, image: Image) -> None:
        """Make the job, in the transaction that says so: it is made once. What is there already needs none."""
        try:
            variant = self._registry.variant(image, self._site.name)
        except GatewayError as exc:
            self._move(row, "error", exc.message)
            return
        if self._site.hands.size(
            f"{self._site.work}/images/{variant.digest.replace(':', '-')}.sif"
        ):
            self._move(row, "complete", None)
            return
        with self._db.write() as session:
            stored = session.get(ImageSite, (row.image_id, row.site))
            if stored is None or stored.state != "created" or stored.job_id is not None:
                return
            stored.job_id = self._add_job(session, image, variant)
            session.add(stored)
        self._site.submit_wake.set()
        self._site.poll_wake.set()

    def _add_job(self, session: Session, image: Image, variant: Variant) -> int:
        return add_job(
            session,
            self._site,
            user=USER,
            name=f"image-{image.id}",
            asked={
                "image": f"{image.name}@{image.digest}",
                "input_files": [],
                "staging": {"kind": "image"},
            },
            image=pinned(image, variant),
        )

    def _follow(self, row: ImageSite) -> None:
        """Take over what the job has come to."""
        with self._db.read() as session:
            job = jobs.get(session, row.job_id or 0)
            container = session.get(Container, (row.job_id, 0))
        if job is None or container is None:
            self._move(row, "error", "the job that staged it is gone")
            return
        phase = Phase.of(job.phase)
        if phase is Phase.COMPLETE:
            self._move(row, "complete", None)
        elif phase.terminal:
            self._move(row, "error", error_of(job, container))
        elif container.slurm_job_id is not None and row.state == "created":
            self._move(row, "download_submitted", None)

    def _move(self, row: ImageSite, state: str, error: str | None) -> None:
        with self._db.write() as session:
            stored = session.get(ImageSite, (row.image_id, row.site))
            if stored is None or stored.job_id != row.job_id or stored.state != row.state:
                return
            store.move(session, stored, state, error)
        log.info("images.moved", image=row.image_id, site=row.site, state=state, error=error)
