"""Calls about images."""

from __future__ import annotations

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls, given


class ImageCalls(Calls):
    """Approved images."""

    def images(self) -> list[wire.Image]:
        """Return the approved images."""
        return self._http.get(wire.Images, "/images").data

    def image(self, name: str) -> wire.Image:
        """Return one approved image."""
        return self._http.get(wire.Image, f"/images/{paths.image(name)}")

    def approve_image(
        self,
        name: str,
        *,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
    ) -> wire.Image:
        """Approve an image (admins), with the reference data that its jobs see, and where by default."""
        params = given(
            refdata_id=refdata_id, default_refdata_mount_point=default_refdata_mount_point
        )
        response = self._http.call("POST", f"/admin/images/{paths.image(name)}", params=params)
        return self._http.read(wire.Image, response)
