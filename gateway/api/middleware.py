"""Around every request: its id, HEAD, its line in the log, and what is answered when all else failed."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.bodies import bounded
from gateway.api.errors import bug_response, stopping_response

log = structlog.get_logger()

_SECRET = re.compile(
    r"(cts_[0-9a-f]{12}_)[0-9a-f]+"
)  # a token that somebody gave in place of its id

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class Requests:
    """Gives each request an id, which stands in its answer (X-Request-ID) and in all that is logged for it.

    HEAD is served wherever GET is (RFC 9110, 9.1): the application sees a GET, and the server leaves the body out.
    """

    def __init__(self, app: ASGIApp, served: Callable[[str, str, int, float], object]) -> None:
        self._app = app
        self._served = served

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
        method = scope["method"]
        state["head"] = method == "HEAD"
        if state["head"]:
            scope = {**scope, "method": "GET"}
        # As it was sent, percent-encoded: no control character of a caller's gets into the log.
        path = _SECRET.sub(r"\1…", scope.get("raw_path", b"").decode("ascii", "replace")[:500])
        status, gone = 0, False
        begin = time.monotonic()

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
            await send(message)

        try:
            await self._app(scope, bounded(scope, receive), numbered)
        except ClientDisconnect:
            gone = True
        except asyncio.CancelledError:  # the daemon ends, and this took longer than it waits
            if not status:
                await stopping_response(Request(scope))(scope, receive, numbered)
        except Exception:
            log.exception("api.bug", method=method, path=path)
            if not status:
                await bug_response(Request(scope))(scope, receive, numbered)
            # Else it is too late for another answer: the server closes the connection, for this one has no end.
        finally:
            caller = state.get("caller")
            # Those of a place that is blocked may be very many.
            plain = (method in ("GET", "HEAD") and 0 < status < 400) or "blocked" in state
            (log.debug if plain else log.info)(
                "api.gone" if gone else "api.request",
                method=method,
                path=path,
                status=status or None,
                user=caller.user if caller is not None else None,
                **({"address": state["address"]} if "address" in state else {}),
                ms=round((time.monotonic() - begin) * 1000, 1),
            )
            route = getattr(scope.get("route"), "path", "none")
            known = method if method in _METHODS else "other"  # callers may send any word
            self._served(known, route, status, time.monotonic() - begin)
