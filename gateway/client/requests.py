"""Calls about what users ask the admins for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls


class RequestCalls(Calls):
    """Requests for images and reference data."""

    def request_image(self, name: str, *, note: str | None = None) -> wire.Request:
        """Ask the admins to approve an image."""
        return self._ask({"kind": "image", "target": name, "note": note})

    def request_refdata(
        self, path: str, *, unpack: bool = False, note: str | None = None
    ) -> wire.Request:
        """Ask the admins to register an object (bucket/key) as reference data."""
        return self._ask({"kind": "refdata", "target": path, "unpack": unpack, "note": note})

    def _ask(self, wanted: dict[str, Any]) -> wire.Request:
        return self._http.read(wire.Request, self._http.call("POST", "/requests", json=wanted))

    def requests(
        self, *, state: str | None = None, user: str | None = None, everyone: bool = False
    ) -> list[wire.Request]:
        """Return the caller's requests, the newest first; `user` and `everyone` are for admins."""
        path = "/admin/requests" if everyone or user is not None else "/requests"
        return self._http.get(wire.Requests, path, state=state, user=user).requests

    def request(self, request_id: str) -> wire.Request:
        """Return a request with its answer."""
        return self._http.get(wire.Request, f"/requests/{paths.segment(request_id)}")

    def approve_request(
        self,
        request_id: str,
        *,
        answer: str | None = None,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Request:
        """Do what a request asks for (admins). `answer` is a word to its user; the rest is for an image, as `approve_image`
        takes it.
        """
        approval = {
            "answer": answer,
            "refdata_id": refdata_id,
            "default_refdata_mount_point": default_refdata_mount_point,
            "urls": urls,
            "usage_notes": usage_notes,
            "from_image": from_image,
            "stage": stage,
        }
        path = f"/admin/requests/{paths.segment(request_id)}/approve"
        return self._http.read(wire.Request, self._http.call("PUT", path, json=approval))

    def decline_request(self, request_id: str, reason: str) -> wire.Request:
        """Decline a request (admins)."""
        path = f"/admin/requests/{paths.segment(request_id)}/decline"
        return self._http.read(wire.Request, self._http.call("PUT", path, json={"reason": reason}))
