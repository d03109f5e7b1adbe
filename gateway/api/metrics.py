"""The handler of /metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.params import services_of

_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of Prometheus' text format


def metrics(request: Request) -> Response:
    """Show what the daemon counts of itself, in Prometheus' text format. No user is named there."""
    return Response(services_of(request).metrics.text(), media_type=_TYPE)
