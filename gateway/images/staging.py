"""Asking for an image to be in the caches of sites before a job wants it. The daemon's loop does the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.errors import AppCode, GatewayError
from gateway.images.platforms import best
from gateway.images.service import ImageRegistry
from gateway.store import images as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Image, ImageSite


class ImageStaging:
    """`sites` are the names of all sites with the platform of each; `active` tells whether one takes jobs."""

    def __init__(
        self,
        database: Database,
        registry: ImageRegistry,
        sites: Mapping[str, str],
        active: Callable[[str], bool],
    ) -> None:
        self._db = database
        self._registry = registry
        self._sites = sites
        self._active = active

    def stage(self, text: str, site: str) -> Image:
        """Have an image staged at a site. One that is under way there goes on.

        Raises
        ------
        GatewayError
            NO_SUCH_IMAGE; ILLEGAL_PARAMETER for a site that there is not, or an image that is not for its platform;
            SITE_INACTIVE.
        """
        image = self._registry.get(text)
        if site not in self._sites:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"cluster: there is no site {site[:100]!r}; the sites are {', '.join(sorted(self._sites))}.",
            )
        if not self._active(site):
            raise GatewayError(
                AppCode.SITE_INACTIVE,
                f"The site {site} is not active, and nothing is staged there; try again when it is.",
            )
        self._registry.variant(image, site)
        self._want(image, [site])
        return image

    def stage_everywhere(self, image: Image) -> list[str]:
        """Have an image staged at every active site whose platform it is for; returns their names."""
        sites = [
            name
            for name, platform in sorted(self._sites.items())
            if self._active(name) and best(image.platforms, platform) is not None
        ]
        self._want(image, sites)
        return sites

    def _want(self, image: Image, sites: list[str]) -> None:
        with self._db.write() as session:
            if session.get(Image, image.id) is None:
                return  # deleted in this moment
            for site in sites:
                row = session.get(ImageSite, (image.id, site))
                if row is not None and row.state in store.UNDER_WAY:
                    continue
                row = row or ImageSite(
                    image_id=image.id or 0, site=site, state="created", updated=now()
                )
                row.job_id = None
                store.move(session, row, "created")
