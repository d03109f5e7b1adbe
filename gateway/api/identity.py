"""Who asks: on the Unix socket the kernel's word for the uid at the other end, over TCP a bearer token's user."""

from __future__ import annotations

import re
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from gateway.api.attempts import Attempts, BlockedError
from gateway.api.directory import Directory
from gateway.api.params import services_of
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # token68 of RFC 9110, 11.2


class Identity:
    """Identifies the callers of requests. Roles come from the configuration at each request, never from a token."""

    def __init__(self, roles: RolesSection, directory: Directory) -> None:
        self._roles = roles
        self._directory = directory

    async def caller(self, request: Request) -> Caller:
        """Identify the caller. On the Unix socket an Authorization header says nothing: the kernel does.

        Raises
        ------
        GatewayError
            NO_TOKEN, INVALID_AUTH_HEADER, INVALID_TOKEN over TCP, AUTHENTICATION_FAILED after too many wrong tokens
            from one place; INVALID_USER for a uid that has no name here.
        """
        peer: Any = getattr(request.state, "peer", None)
        if peer is not None:
            return await to_thread.run_sync(self._local, peer)
        text = bearer_of(request)
        address = address_of(request)
        attempts: Attempts = request.app.state.attempts
        wait = attempts.wait(address, text)
        if wait:
            raise BlockedError(address, wait)
        try:
            caller = await to_thread.run_sync(self._remote, request, text, address)
        except GatewayError as exc:
            if exc.code is AppCode.INVALID_TOKEN:
                attempts.failed(address, text)
            raise
        attempts.worked(address, text)
        return caller

    def _local(self, peer: tuple[int, int, int]) -> Caller:
        pid, uid, gid = peer
        try:
            user, groups = self._directory.find(uid, gid)
        except KeyError as exc:
            raise GatewayError(
                AppCode.INVALID_USER, f"The uid {uid} has no user name on this machine."
            ) from exc
        return Caller(user, uid, groups, self._admin(user, groups), f"uid={uid} pid={pid}")

    def _remote(self, request: Request, text: str, address: str) -> Caller:
        use = services_of(request).tokens.check(text, f"address={address}")
        uid, groups = self._directory.named(use.user)
        return Caller(
            use.user,
            uid,
            groups,
            self._admin(use.user, groups),
            f"address={address} token={use.token_id}",
            use.token_id,
        )

    def _admin(self, user: str, groups: frozenset[str]) -> bool:
        return user in self._roles.admin_users or bool(groups & set(self._roles.admin_groups))


def address_of(request: Request) -> str:
    """Return the address at the other end of a TCP connection, as the kernel has it: no header changes it."""
    return str(getattr(request.state, "address", "unknown"))


def bearer_of(request: Request) -> str:
    """Return the token of a request (RFC 6750, 2.1).

    Raises
    ------
    GatewayError
        NO_TOKEN, or INVALID_AUTH_HEADER, which never repeats what was sent.
    """
    given = request.headers.getlist("authorization")
    if not given:
        raise GatewayError(
            AppCode.NO_TOKEN,
            "This call needs a token: send 'Authorization: Bearer TOKEN'; make one on the gateway's own machine with: "
            "cts token create",
        )
    scheme, _, text = given[0].strip().partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not _TOKEN.fullmatch(text.strip()):
        raise GatewayError(
            AppCode.INVALID_AUTH_HEADER,
            "The Authorization header is not as it must be; send it once, as 'Authorization: Bearer TOKEN'.",
        )
    return text.strip()
