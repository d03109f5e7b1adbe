"""Calls about the image caches of the sites; all are for admins."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls


class CacheCalls(Calls):
    """Image caches."""

    def image_caches(self, *, clusters: Sequence[str] = ()) -> list[wire.ImageCache]:
        """Return what is in the image caches of the sites named, or of all, the last used first."""
        return self._http.get(wire.ImageCaches, "/admin/cache", cluster=list(clusters)).data

    def remove_cached_image(self, cluster: str, digest: str) -> None:
        """Remove an image from a cache; refused while jobs need it."""
        self._http.call("DELETE", f"/admin/cache/{_place(cluster, digest)}")

    def verify_cached_image(self, cluster: str, digest: str) -> wire.CacheCheck:
        """Have an image in a cache read whole; may take seconds for each 10 GB."""
        response = self._http.call("PUT", f"/admin/cache/{_place(cluster, digest)}/verify")
        return self._http.read(wire.CacheCheck, response)

    def prune_image_cache(self, cluster: str, *, max_size: int | None = None) -> wire.Pruned:
        """Remove what no job needs, unused for longest first, until at most `max_size` bytes, or the site's bound, are left."""
        path = f"/admin/cache/{paths.segment(cluster)}/prune"
        response = self._http.call(
            "PUT", path, params=None if max_size is None else {"max_size": max_size}
        )
        return self._http.read(wire.Pruned, response)


def _place(cluster: str, digest: str) -> str:
    return f"{paths.segment(cluster)}/{paths.segment(digest)}"
