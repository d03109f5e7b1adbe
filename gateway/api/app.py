"""The FastAPI application: the routes of the table with their access, request ids, error bodies, OpenAPI."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute

from gateway import __version__
from gateway.api import errors
from gateway.api.bodies import Bodies
from gateway.api.identity import Directory, caller_of
from gateway.api.middleware import Requests
from gateway.api.openapi import describe
from gateway.api.params import check_query, error_schema
from gateway.api.readiness import Readiness
from gateway.api.routes import PLANNED, ROUTES, Access
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.services import Services


def create_app(
    services: Services, roles: RolesSection, directory: Directory | None = None
) -> FastAPI:
    """Build the application over the services; `directory` tells users by uid, by default those of the system."""
    users = directory or Directory()
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

    def identified(request: Request) -> None:
        request.state.caller = caller_of(request, roles, users)

    def admin(request: Request) -> None:
        identified(request)
        if not request.state.caller.admin:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"{request.state.caller.user} is no admin of this gateway, and {request.url.path} is for admins.",
            )

    checks: dict[Access, list[Any]] = {
        Access.OPEN: [],
        Access.USER: [Depends(identified)],
        Access.ADMIN: [Depends(admin)],
    }
    for route in ROUTES:
        known: dict[str, bool] = {}
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=[*checks[route.access], Depends(check_query(known))],
            response_model=route.model,
            status_code=route.status,
            responses=error_schema(),
            operation_id=route.name,
        )
        made = app.router.routes[-1]
        if not isinstance(made, APIRoute):  # pragma: no cover - FastAPI's promise
            raise TypeError(f"{route.path} is no APIRoute")
        for field in made.dependant.query_params:
            known[field.alias] = "list" in str(field.field_info.annotation)
    for route in PLANNED:
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=checks[route.access],
            include_in_schema=False,
        )
    errors.install(app)
    app.add_middleware(Requests)
    describe(app)
    return app
