"""Who is at the other end of the Unix socket: SO_PEERCRED, then the system's user and group database."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct
import sys
import uuid
from typing import Any

import h11
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.api.errors import error_body
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller

_CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): pid, uid, gid


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which also notes the peer's credentials in the state of each request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected."""
        super().connection_made(transport)
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, gid = _CREDENTIALS.unpack(raw)
            self.app_state = {**self.app_state, "peer": (pid, uid, gid)}

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP with the protocol's body too; called while the parser's exception is handled."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # an answer has begun; there is no place for another
            return
        exc = sys.exception()
        status = exc.error_status_hint if isinstance(exc, h11.RemoteProtocolError) else 400
        identifier = uuid.uuid4().hex
        message = f"{msg.rstrip('.')}: {exc}." if exc is not None else msg
        code = AppCode.ILLEGAL_PARAMETER if status < 500 else None
        body = error_body(status, message, identifier, code).model_dump_json(exclude_none=True)
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body.encode()))),
            ("x-request-id", identifier),
            ("connection", "close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body.encode()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def caller_of(request: Request, roles: RolesSection) -> Caller:
    """Identify the caller of a request.

    Raises
    ------
    GatewayError
        AUTHENTICATION_FAILED without credentials, INVALID_USER for a uid that has no name here.
    """
    peer: Any = getattr(request.state, "peer", None)
    if peer is None:
        raise GatewayError(
            AppCode.AUTHENTICATION_FAILED,
            "The connection has no peer credentials; use the Unix socket.",
        )
    pid, uid, gid = peer
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError as exc:
        raise GatewayError(
            AppCode.INVALID_USER, f"The uid {uid} has no user name on this machine."
        ) from exc
    groups = frozenset(_group_name(number) for number in os.getgrouplist(user, gid))
    admin = user in roles.admin_users or bool(groups & set(roles.admin_groups))
    return Caller(user, uid, groups, admin, f"uid={uid} pid={pid}")


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
