"""The FastAPI application: the routes of the table with their access, request ids, error bodies."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import structlog
from fastapi import Depends, FastAPI, Request, Response

from gateway import __version__, wire
from gateway.api import errors
from gateway.api.identity import caller_of
from gateway.api.routes import ROUTES, Access
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.services import Services

_ERRORS: dict[int | str, dict[str, object]] = {
    code: {"model": wire.ErrorBody} for code in (400, 401, 403, 404, 500)
}


def create_app(services: Services, roles: RolesSection) -> FastAPI:
    """Build the application over the services."""
    app = FastAPI(
        title="cts",
        version=__version__,
        description="A batch gateway for HPC",
        redirect_slashes=False,
    )
    app.state.services = services

    def identified(request: Request) -> None:
        request.state.caller = caller_of(request, roles)

    def admin(request: Request) -> None:
        identified(request)
        if not request.state.caller.admin:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"{request.state.caller.user} is no admin of this gateway, and {request.url.path} is for admins.",
            )

    checks = {Access.OPEN: [], Access.USER: [Depends(identified)], Access.ADMIN: [Depends(admin)]}
    for route in ROUTES:
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=checks[route.access],
            response_model=route.model,
            status_code=route.status,
            responses=_ERRORS,
            operation_id=f"{route.method.lower()}_{route.path.strip('/').replace('/', '_') or 'root'}",
        )
    errors.install(app)
    app.middleware("http")(errors.last_resort)

    @app.middleware("http")
    async def _request_id(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        request.state.request_id = uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request.state.request_id)
        response = await call_next(request)
        response.headers["X-Request-ID"] = request.state.request_id
        return response

    return app
