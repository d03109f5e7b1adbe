"""Handlers of what admins do with a job that has failed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.params import JobId, caller_of, services_of


def restart(request: Request, job_id: JobId) -> Response:
    """Run again what is missing of a job in error: its containers that are not complete. 30300 for one in another state."""
    services_of(request).restarts.restart(caller_of(request), job_id)
    return Response(status_code=204)


def upload(request: Request, job_id: JobId) -> Response:
    """Upload outputs of a job in error that were kept at its site, without running anything again. 30300 where there are none."""
    services_of(request).restarts.upload(caller_of(request), job_id)
    return Response(status_code=204)
