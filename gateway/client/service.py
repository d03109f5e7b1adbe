"""Calls about the gateway itself: what it is, who asks, its sites, its accounting."""

from __future__ import annotations

from typing import Any

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls, given

_IDS = 250  # of one request: an address has some 16 KiB


class ServiceCalls(Calls):
    """The gateway and its accounting."""

    def root(self) -> wire.Root:
        """Return what the service says of itself."""
        return self._http.get(wire.Root, "/")

    def whoami(self) -> wire.WhoAmI:
        """Return who the caller is to the gateway."""
        return self._http.get(wire.WhoAmI, "/whoami")

    def sites(self) -> list[wire.Site]:
        """Return the sites."""
        return self._http.get(wire.Sites, "/sites").sites

    def switch_site(self, cluster: str, *, active: bool, reason: str | None = None) -> None:
        """Have a site take jobs, or no more of them (admins); `reason`, of one that is switched off, is told to users."""
        where = f"/admin/sites/{paths.segment(cluster)}/active"
        if active:
            self._http.call("PUT", where)
        else:
            self._http.call("DELETE", where, params=given(reason=reason))

    def check_template(self, cluster: str, template: str | None = None) -> wire.TemplateCheck:
        """Try a template at a site, its own or another one (admins): sample scripts are rendered, and read by bash and Slurm."""
        where = f"/admin/sites/{paths.segment(cluster)}/template"
        response = self._http.call("POST", where, params=given(template=template))
        return self._http.read(wire.TemplateCheck, response)

    def ready(self) -> wire.Ready:
        """Return the state of all that the gateway depends on."""
        return self._http.get(wire.Ready, "/ready")

    def accounting(self, **filters: Any) -> list[wire.AcctRow]:
        """Return accounting rows; filters: user, everyone, start, end, state, job, limit. A long list of jobs is asked in parts."""
        jobs = filters.pop("job", None)
        parts = [jobs] if not jobs else [jobs[n : n + _IDS] for n in range(0, len(jobs), _IDS)]
        return [
            row
            for part in parts
            for row in self._http.get(wire.AcctRows, "/accounting", job=part, **filters).rows
        ]
