"""The FastAPI application: the routes of the table with their access, request ids, error bodies, OpenAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute

from gateway import __version__
from gateway.api import errors
from gateway.api.attempts import Attempts
from gateway.api.bodies import Bodies
from gateway.api.directory import Directory
from gateway.api.identity import Identity
from gateway.api.middleware import Requests
from gateway.api.openapi import describe
from gateway.api.params import check_query, error_schema
from gateway.api.readiness import Readiness
from gateway.api.routes import ROUTES, Access
from gateway.api.streams import Streams
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.services import Services


def create_app(
    services: Services, roles: RolesSection, directory: Directory | None = None
) -> FastAPI:
    """Build the application over the services; `directory` tells users by uid and by name, by default those of the system."""
    app = FastAPI(
        title="cts",
        version=__version__,
        description="A batch gateway for HPC: container jobs from S3 to S3 on Slurm.",
        redirect_slashes=False,
        docs_url=None,  # its pages load code from the network
        redoc_url=None,
    )
    app.state.services = services
    app.state.readiness = Readiness()
    app.state.bodies = Bodies()
    app.state.attempts = Attempts()
    app.state.streams = Streams()

    identity = app.state.identity = Identity(roles, directory or Directory())

    async def identified(request: Request) -> None:
        request.state.caller = await identity.caller(request)

    async def admin(request: Request) -> None:
        await identified(request)
        if not request.state.caller.admin:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"{request.state.caller.user} is no admin of this gateway, and {request.url.path} is for admins.",
            )

    kinds: dict[Access, type[APIRoute]] = {
        Access.OPEN: APIRoute,
        Access.USER: _checked(identified),
        Access.ADMIN: _checked(admin),
        Access.NODE: _checked(identity.node),
    }
    for route in ROUTES:
        known: dict[str, bool] = {}
        app.router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=[Depends(check_query(known))],
            response_model=route.model,
            status_code=route.status,
            responses=error_schema(),
            operation_id=route.name,
            include_in_schema=route.access is not Access.NODE,  # docs/node-protocol.md has it
            route_class_override=kinds[route.access],
            openapi_extra=None if route.access is Access.OPEN else {"security": [{"token": []}]},
        )
        made = app.router.routes[-1]
        if not isinstance(made, APIRoute):  # pragma: no cover - FastAPI's promise
            raise TypeError(f"{route.path} is no APIRoute")
        for field in made.dependant.query_params:
            known[field.alias] = "list" in str(field.field_info.annotation)
    errors.install(app)

    def served(method: str, route: str, status: int, seconds: float) -> None:
        app.state.services.metrics.served(method, route, status, seconds)

    app.add_middleware(Requests, served=served)
    describe(app)
    return app


def _checked(check: Callable[[Request], Awaitable[None]]) -> type[APIRoute]:
    """Return a kind of route that checks first: before a byte of a body is read, or a parameter looked at."""

    class Checked(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            plain = super().get_route_handler()

            async def handler(request: Request) -> Response:
                await check(request)
                return await plain(request)

            return handler

    return Checked
