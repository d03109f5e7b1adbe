"""Images as the API offers them: the registry and their staging, with what admins do to them written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway import wire
from gateway.images.service import ImageRegistry, Notes
from gateway.images.staging import ImageStaging
from gateway.images.views import views
from gateway.jobs.audit import audited
from gateway.jobs.caller import Caller
from gateway.refdata.registry import RefdataRegistry
from gateway.store.db import Database
from gateway.store.tables import Image


class ImageService:
    """`wake` is called when the sites have something to do."""

    def __init__(
        self,
        database: Database,
        registry: ImageRegistry,
        staging: ImageStaging,
        refdata: RefdataRegistry,
        wake: Callable[[], None],
    ) -> None:
        self._db = database
        self._registry = registry
        self._staging = staging
        self._refdata = refdata
        self._wake = wake

    def everything(self) -> list[wire.Image]:
        """List the approved images."""
        return self._views(self._registry.everything())

    def get(self, name: str) -> wire.Image:
        """Find one by a name as users write it."""
        return self._views([self._registry.get(name)])[0]

    def approve(
        self,
        caller: Caller,
        name: str,
        *,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Image:
        """Look one up in its registry and record it; the sites stage it where that is asked for."""
        with self._audited(caller, "image.approve", name):
            place = default_refdata_mount_point
            # Without data of its own, a place is for the data of the image that the rest is taken from.
            lone = place if from_image is None else None
            data = self._refdata.of_image(refdata_id, place if refdata_id is not None else lone)
            row = self._registry.approve(
                name, caller.user, Notes(urls, usage_notes, from_image, data, place)
            )
        if stage:
            with self._audited(caller, "image.stage", name):
                self._staging.stage_everywhere(row)
        return self._views([row])[0]

    def delete(self, caller: Caller, name: str) -> None:
        """Forget one."""
        with self._audited(caller, "image.delete", name):
            self._registry.delete(name)

    def stage(self, caller: Caller, name: str, sites: Sequence[str]) -> wire.Image:
        """Have the sites named, or all that are active, fetch and convert one now."""
        with self._audited(caller, "image.stage", f"{name} {' '.join(sites)}".strip()):
            row = self._registry.get(name)
            for site in sites:
                self._staging.stage(name, site)
            if not sites:
                self._staging.stage_everywhere(row)
        return self._views([row])[0]

    def _views(self, rows: Sequence[Image]) -> list[wire.Image]:
        with self._db.read() as session:
            return views(session, rows)

    @contextmanager
    def _audited(self, caller: Caller, action: str, target: str) -> Iterator[None]:
        with audited(self._db, caller, action, target):
            yield
        self._wake()
