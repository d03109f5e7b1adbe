"""Calls about jobs: submit, look, cancel, read logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls
from gateway.connection import CtsError, GatewayUnreachableError
from gateway.errors import AppCode

Stream = Literal["stdout", "stderr"]


class JobCalls(Calls):
    """One job or many."""

    def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job (a JobInput of the protocol); returns its id.

        A `GatewayUnreachableError` of this call whose `sent` is true does not say that nothing was submitted: look
        with `jobs`.
        """
        try:
            body = json.dumps(dict(job), allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as exc:
            code = AppCode.REQUEST_VALIDATION
            raise CtsError(
                code.http_status, f"the job cannot be written as JSON: {exc}", code.code
            ) from exc
        headers = {"Content-Type": "application/json"}
        try:
            response = self._http.call("POST", "/jobs", content=body, headers=headers)
        except GatewayUnreachableError as exc:
            if not exc.sent:
                raise
            raise GatewayUnreachableError(
                f"{exc} The job may have been submitted all the same: look before you submit it again.",
                sent=True,
            ) from exc
        return self._http.read(wire.JobId, response).job_id

    def jobs(
        self,
        *,
        cluster: str | None = None,
        state: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        user: str | None = None,
        everyone: bool = False,
    ) -> list[wire.JobPreview]:
        """Return the caller's jobs, the last updated first; `user` and `everyone` are for admins.

        `after` is inclusive, `before` exclusive, of the last update; both have a zone. At most 1000 are listed.
        """
        path = "/admin/jobs" if everyone or user is not None else "/jobs"
        filters = {"cluster": cluster, "state": state, "limit": limit, "user": user}
        times = {"after": after and after.isoformat(), "before": before and before.isoformat()}
        return self._http.get(wire.Jobs, path, **filters, **times).jobs

    def job(self, job_id: str) -> wire.Job:
        """Return a job with its outputs."""
        return self._http.get(wire.Job, paths.job(job_id))

    def status(self, job_id: str) -> wire.JobStatus:
        """Return a job's state."""
        return self._http.get(wire.JobStatus, f"{paths.job(job_id)}/status")

    def exit_codes(self, job_id: str) -> list[int | None]:
        """Return the exit codes of a job's containers."""
        return self._http.get(wire.ExitCodes, f"{paths.job(job_id)}/exit_codes").exit_codes

    def containers(self, job_id: str) -> list[wire.Container]:
        """Return a job's containers."""
        return self._http.get(wire.Containers, f"{paths.job(job_id)}/containers").containers

    def script(self, job_id: str) -> list[str]:
        """Return the batch scripts submitted for a job."""
        return self._http.get(wire.Script, f"{paths.job(job_id)}/script").scripts

    def log(
        self,
        job_id: str,
        container: int,
        stream: Stream = "stdout",
        seek: int = 0,
        length: int | None = None,
    ) -> tuple[bytes, bool]:
        """Return a piece of a log from byte `seek` on, and whether the container has ended."""
        params = {"seek": seek} if length is None else {"seek": seek, "length": length}
        response = self._http.call(
            "GET", f"{paths.job(job_id)}/log/{container}/{stream}", params=params
        )
        return response.content, response.headers.get("X-Log-Final") == "true"

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self._http.call("PUT", f"{paths.job(job_id)}/cancel")
