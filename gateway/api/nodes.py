"""The handler of /node: what compute nodes ask for, by their job's token."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.bodies import Bodies
from gateway.api.params import JobId, limiter_of, services_of

_AT_ONE_TIME = 8  # thousands of nodes may ask at once, and users must not wait for them
_WHOSE = "compute nodes"  # no user's name: what all of them send counts together


async def node_request(request: Request, job_id: JobId) -> Response:
    """Answer a request for grants, of a node of that job: the document of the mailbox, by another road."""
    bodies: Bodies = request.app.state.bodies
    async with bodies.read(request, _WHOSE) as body:
        answer = await to_thread.run_sync(
            services_of(request).nodes.answer, job_id, body, limiter=nodes_limiter(request)
        )
    return Response(answer, media_type="application/json")


def nodes_limiter(request: Request) -> CapacityLimiter:
    """Return what bounds the threads that work for nodes."""
    return limiter_of(request, "nodes", _AT_ONE_TIME)
