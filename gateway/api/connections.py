"""Connections: whose they are, how long a request may take to arrive, how many one user or one network may have."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.api.attempts import network_of
from gateway.api.errors import error_body
from gateway.errors import AppCode

_CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): pid, uid, gid
_UNSENT = (h11.IDLE, h11.SEND_RESPONSE)  # states of ours in which an answer may begin


@dataclass(frozen=True)
class Limits:
    """What one connection, one user and one network may take.

    `patience` is the time in seconds that a whole request, body included, may take to arrive. `per_user` is the
    number of connections of one user on the Unix socket, `per_network` that of one address over TCP (of one /64 with
    IPv6): past it the oldest idle one is closed, and where none is idle the new one is refused. `tcp` bounds those
    over TCP together, so that users of the Unix socket always have room; `handshake` is what TLS may take, in seconds.
    """

    patience: float = 60.0
    per_user: int = 256
    per_network: int = 256
    tcp: int = 1024
    handshake: float = 10.0


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with `limits`. In the state of each request are, on a Unix socket, the peer's
    credentials, and on any other its address.
    """

    limits = Limits()
    owner: int | str | None = None  # a uid, or a network
    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected."""
        super().connection_made(transport)
        self._since = self.loop.time()
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, gid = _CREDENTIALS.unpack(raw)
            self.owner = uid
            self.app_state = {**self.app_state, "peer": (pid, uid, gid)}
            most, whose = self.limits.per_user, "You have"
        else:
            address = str((transport.get_extra_info("peername") or ("unknown",))[0])
            self.owner = network_of(address)
            self.app_state = {**self.app_state, "address": address}
            most, whose = self.limits.per_network, f"The address {address} has"
        mine = [
            other
            for other in self.others()
            if other.owner == self.owner and not other.transport.is_closing()
        ]
        if len(mine) >= most and not close_oldest_idle(mine):
            self._answer(503, f"{whose} {most} requests under way; let some of them end first.")
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        self._since = self.loop.time()
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP with the protocol's body too; called while the parser's exception is handled."""
        exc = sys.exception()
        status = exc.error_status_hint if isinstance(exc, h11.RemoteProtocolError) else 400
        message = f"{msg.rstrip('.')}: {exc}." if exc is not None else msg
        if status == 431:
            message = "The address and the headers of a request may have 16 KiB together; send less in them."
        self._answer(status, message)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def over_tcp(self) -> bool:
        """Whether it is no connection of the Unix socket."""
        return isinstance(self.owner, str)

    def others(self) -> list[PeerProtocol]:
        """Return the other connections of the server."""
        return [
            other
            for other in self.connections
            if isinstance(other, PeerProtocol) and other is not self
        ]

    def _watch(self) -> None:
        """Have a timer as long as a request is awaited or arriving, and none while it is answered."""
        if self.transport.is_closing() or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.patience, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing() or self.conn.their_state is h11.DONE:
            return
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if begun and self.conn.our_state in _UNSENT:
            self._answer(408, f"The request was not here whole in {self.limits.patience:g} s.")
        else:
            self.transport.close()

    def _answer(self, status: int, message: str) -> None:
        """Answer in place of the application, and close."""
        if self.conn.our_state not in _UNSENT:
            self.transport.close()  # an answer has begun; there is no place for another
            return
        identifier = uuid.uuid4().hex
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
        if self.cycle is not None:
            self.cycle.disconnected = True  # the application's answer has no place any more
        self.transport.close()


def close_oldest_idle(connections: Sequence[PeerProtocol]) -> bool:
    """Close the one of them that has been idle longest; tell whether there was one."""
    idle = [one for one in connections if one.idle and not one.transport.is_closing()]
    if not idle:
        return False
    min(idle, key=lambda one: one._since).transport.close()
    return True


def protocol_with(limits: Limits) -> type[PeerProtocol]:
    """Return the protocol with other limits."""
    return type("PeerProtocol", (PeerProtocol,), {"limits": limits})
