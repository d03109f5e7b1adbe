"""Who is at the other end of the Unix socket: SO_PEERCRED, then the system's user and group database."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

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
