"""The one place where errors become bodies: the same shape for every 4xx and 5xx, whatever raised them."""

from __future__ import annotations

import http
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gateway import wire
from gateway.api.attempts import BlockedError
from gateway.errors import AppCode, ErrorDetail, GatewayError, SiteError, StoreError
from gateway.jobs.document import MAX_DETAILS

log = structlog.get_logger()

_CHALLENGE = 'Bearer realm="cts"'  # RFC 6750, 3
_CHALLENGES = {
    AppCode.INVALID_TOKEN: f'{_CHALLENGE}, error="invalid_token"',
    AppCode.INVALID_AUTH_HEADER: f'{_CHALLENGE}, error="invalid_request"',
}


def error_body(
    status: int,
    message: str,
    request_id: str,
    code: AppCode | None = None,
    details: Sequence[ErrorDetail] = (),
) -> wire.ErrorBody:
    """Build the error body of the protocol; a 5xx has no `code`."""
    return wire.ErrorBody(
        error=wire.ErrorInfo(
            httpcode=status,
            httpstatus=http.HTTPStatus(status).phrase,
            time=datetime.now(UTC),
            request_id=request_id,
            message=message,
            appcode=code.code if code else None,
            apperror=code.title if code else None,
            request_validation_detail=[
                wire.ValidationDetail(loc=list(detail.loc), msg=detail.msg, type=detail.type)
                for detail in details
            ]
            or None,
        )
    )


def error_response(
    request: Request,
    status: int,
    message: str,
    code: AppCode | None = None,
    details: Sequence[ErrorDetail] = (),
) -> JSONResponse:
    """Build the response to a request that failed."""
    identifier = str(getattr(request.state, "request_id", ""))
    body = error_body(status, message, identifier, code, details)
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status)


def bug_response(request: Request) -> JSONResponse:
    """Build the answer to what nothing else caught: it tells nothing of the inside."""
    return error_response(
        request, 500, "The gateway made a mistake; tell its admins this request id."
    )


def stopping_response(request: Request) -> JSONResponse:
    """Build the answer to a request that the daemon's end cut short."""
    return error_response(
        request,
        503,
        "The gateway is being stopped; ask again when it is back, and look what was done.",
    )


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(GatewayError)
    def _gateway(request: Request, exc: GatewayError) -> Response:
        response = error_response(request, exc.code.http_status, exc.message, exc.code, exc.details)
        if exc.code.http_status == 401:
            response.headers["WWW-Authenticate"] = _CHALLENGES.get(exc.code, _CHALLENGE)
        if isinstance(exc, BlockedError):
            response.headers["Retry-After"] = str(exc.seconds)
            request.state.blocked = True
        return response

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, exc: RequestValidationError) -> Response:
        details = [
            ErrorDetail(
                tuple(row["loc"]), str(row["msg"]).removeprefix("Value error, "), str(row["type"])
            )
            for row in exc.errors()[:MAX_DETAILS]
        ]
        first = details[0]
        where = ".".join(str(part) for part in first.loc)
        return error_response(
            request, 400, f"{where}: {first.msg}", AppCode.REQUEST_VALIDATION, details
        )

    @app.exception_handler(HTTPException)
    def _http(request: Request, exc: HTTPException) -> Response:
        code = {
            404: AppCode.NOT_FOUND,
            405: AppCode.UNSUPPORTED,
        }.get(exc.status_code)
        allowed = _methods(request)
        messages = {
            404: f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
            405: f"{request.method} is not supported at {request.url.path}; {', '.join(allowed)} {'are' if len(allowed) > 1 else 'is'}.",
        }
        if code is None and exc.status_code < 500:
            code = AppCode.ILLEGAL_PARAMETER
        response = error_response(
            request, exc.status_code, messages.get(exc.status_code, str(exc.detail)), code
        )
        response.headers.update(exc.headers or {})
        if exc.status_code == 405:
            response.headers["Allow"] = ", ".join(allowed)
        return response

    @app.exception_handler(SiteError)
    def _site(request: Request, exc: SiteError) -> Response:
        log.warning("api.site", error=str(exc))
        return error_response(
            request, 503, "The site does not answer as it should now; try again later."
        )

    @app.exception_handler(StoreError)
    def _store(request: Request, exc: StoreError) -> Response:
        log.error("api.store", error=str(exc))
        return error_response(
            request, 503, "The gateway's database does not answer as it should; try again later."
        )


def _methods(request: Request) -> list[str]:
    """Return the methods that there are at a path: of all its routes, not of the first alone.

    Those that are not there yet are named only where nothing else is.
    """
    here = [r for r in request.app.router.routes if r.matches(request.scope)[0] is not Match.NONE]
    known = [route for route in here if getattr(route, "include_in_schema", True)] or here
    found: set[str] = set()
    for route in known:
        found |= set(getattr(route, "methods", None) or ())
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
