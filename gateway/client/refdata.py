"""Calls about reference data."""

from __future__ import annotations

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls, given


class RefdataCalls(Calls):
    """Reference data and its sites."""

    def refdata(self) -> list[wire.Refdata]:
        """Return all reference data, with its state at each site."""
        return self._http.get(wire.RefdataList, "/refdata").data

    def refdata_by_id(self, refdata_id: str) -> wire.Refdata:
        """Return one."""
        return self._http.get(wire.Refdata, f"/refdata/id/{paths.segment(refdata_id)}")

    def refdata_by_path(self, path: str) -> list[wire.Refdata]:
        """Return the registrations of an object (bucket/key), oldest first."""
        return self._http.get(wire.RefdataList, f"/refdata/path/{paths.object(path)}").data

    def register_refdata(
        self,
        path: str,
        *,
        crc64nvme: str | None = None,
        unpack: bool = False,
        force: bool = False,
    ) -> wire.Refdata:
        """Register an object as reference data (admins); each active site stages it."""
        params = given(crc64nvme=crc64nvme, unpack=unpack or None, force=force or None)
        response = self._http.call("POST", f"/admin/refdata/{paths.object(path)}", params=params)
        return self._http.read(wire.Refdata, response)

    def recover_refdata(self, refdata_id: str, cluster: str) -> None:
        """Have a site stage reference data again, where that failed or it was cleaned (admins)."""
        where = f"/admin/refdata/{paths.segment(refdata_id)}/{paths.segment(cluster)}"
        self._http.call("PUT", f"{where}/recover")

    def clean_refdata(self, refdata_id: str, cluster: str, *, force: bool = False) -> None:
        """Have reference data removed from a site's disk (admins)."""
        where = f"/admin/refdata/{paths.segment(refdata_id)}/{paths.segment(cluster)}"
        self._http.call("DELETE", f"{where}/clean", params=given(force=force or None))
