"""Around every request: its id, its line in the log, and what is answered when all else failed."""

from __future__ import annotations

import time
import uuid

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.errors import bug_response

log = structlog.get_logger()


class RequestIds:
    """Gives each request an id, which stands in its answer (X-Request-ID) and in all that is logged for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = identifier
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=identifier)
        status = 0
        begin = time.monotonic()

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
            await send(message)

        # As it was sent, percent-encoded: no control character of a caller's gets into the log.
        path = scope.get("raw_path", b"").decode("ascii", "replace")
        try:
            await self._app(scope, receive, numbered)
        except ClientDisconnect:
            log.info("api.gone", method=scope["method"], path=path)
        except Exception:
            log.exception("api.bug", method=scope["method"], path=path)
            if status:
                raise  # too late for another answer: the connection is closed
            await bug_response(Request(scope))(scope, receive, numbered)
        finally:
            caller = state.get("caller")
            plain = scope["method"] == "GET" and 0 < status < 400
            (log.debug if plain else log.info)(
                "api.request",
                method=scope["method"],
                path=path,
                status=status,
                user=caller.user if caller is not None else None,
                ms=round((time.monotonic() - begin) * 1000, 1),
            )
