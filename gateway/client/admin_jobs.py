"""Calls about any job, for admins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls, given


class AdminJobCalls(Calls):
    """What admins do with a job besides what its user may."""

    def admin_job(self, job_id: str) -> wire.AdminJob:
        """Return any job with its Slurm submissions."""
        return self._http.get(wire.AdminJob, _path(job_id))

    def runner_status(self, job_id: str, container: int | None = None) -> wire.RunnerStatus:
        """Return what Slurm says of a job now, or of one of its containers."""
        return self._http.get(
            wire.RunnerStatus, f"{_path(job_id)}/runner_status", container=container
        )

    def set_meta(
        self,
        job_id: str,
        set_fields: Mapping[str, str | int | float | bool] | None = None,
        unset_keys: Sequence[str] = (),
    ) -> None:
        """Change what is noted in a job's `admin_meta`."""
        body = {"set_fields": dict(set_fields or {}), "unset_keys": list(unset_keys)}
        self._http.call("PUT", f"{_path(job_id)}/meta", json=body)

    def clean_job(self, job_id: str, *, force: bool = False) -> None:
        """Have a job's directory removed from its site; with `force` one that runs is canceled first."""
        params = given(force=force or None)
        self._http.call("DELETE", f"{_path(job_id)}/clean", params=params)

    def notify_job(self, job_id: str, state: str | None = None) -> None:
        """Have the event of a state, by default of the last one, sent to the subscribers once more."""
        self._http.call("PUT", f"{_path(job_id)}/notify", params=given(state=state))

    def restart_job(self, job_id: str) -> None:
        """Run those containers of a job in error again that are not complete (admins)."""
        self._http.call("PUT", f"/admin{paths.job(job_id)}/restart")

    def upload_job(self, job_id: str) -> None:
        """Upload outputs of a job in error that were kept at its site; nothing is run again (admins)."""
        self._http.call("PUT", f"/admin{paths.job(job_id)}/upload")


def _path(job_id: str) -> str:
    return f"/admin{paths.job(job_id)}"
