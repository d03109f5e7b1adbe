"""Calls about images."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls, given


class ImageCalls(Calls):
    """Approved images."""

    def images(self) -> list[wire.Image]:
        """Return the approved images, by name."""
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
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Image:
        """Approve an image (admins), with the reference data that its jobs see, and where by default.

        `urls` and `usage_notes` are for its users; what is not said is taken over from `from_image`, an approved one.
        `stage` has every active site fetch and convert it at once.
        """
        params = given(
            refdata_id=refdata_id,
            default_refdata_mount_point=default_refdata_mount_point,
            stage=stage or None,
        )
        notes = {"urls": urls, "usage_notes": usage_notes, "from_image": from_image}
        body = {key: value for key, value in notes.items() if value is not None} or None
        path = f"/admin/images/{paths.image(name)}"
        response = self._http.call("POST", path, params=params, json=body)
        return self._http.read(wire.Image, response)

    def delete_image(self, name: str) -> None:
        """Forget an approved image (admins). Jobs that have it keep what it was, and go on."""
        self._http.call("DELETE", f"/admin/images/{paths.image(name)}")

    def stage_image(self, name: str, *, clusters: Sequence[str] = ()) -> wire.Image:
        """Have sites, or every active one, fetch and convert an image before a job wants it (admins)."""
        path = f"/admin/images/{paths.image(name)}/stage"
        response = self._http.call("PUT", path, params={"cluster": list(clusters)})
        return self._http.read(wire.Image, response)
