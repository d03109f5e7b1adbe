"""Who asks: on the Unix socket the kernel's word for the uid at the other end, over TCP a bearer token's user."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from gateway.api.attempts import Attempts, BlockedError
from gateway.api.directory import Directory
from gateway.api.nodes import nodes_limiter
from gateway.api.params import services_of
from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id
from gateway.jobs.caller import Caller

T = TypeVar("T")

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
        return await _tried(request, lambda text: self._remote(request, text, address_of(request)))

    async def node(self, request: Request) -> None:
        """See that a compute node of the job in the address asks: by that job's token, which opens nothing else.

        Raises
        ------
        GatewayError
            UNAUTHORIZED on the Unix socket, else as `caller`.
        """
        if getattr(request.state, "peer", None) is not None:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                f"{request.url.path} is for compute nodes, which come over TLS with their job's token.",
            )
        wanted = str(request.path_params["job_id"])
        await _tried(request, lambda text: _of_job(request, wanted, text), nodes_limiter(request))

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


async def _tried(
    request: Request, check: Callable[[str], T], limiter: CapacityLimiter | None = None
) -> T:
    """Have the token of a request checked in a thread; a place that sends too many wrong ones is not listened to."""
    text = bearer_of(request)
    address = address_of(request)
    attempts: Attempts = request.app.state.attempts
    wait = attempts.wait(address, text)
    if wait:
        raise BlockedError(address, wait)
    try:
        found = await to_thread.run_sync(check, text, limiter=limiter)
    except GatewayError as exc:
        if exc.code is AppCode.INVALID_TOKEN:
            attempts.failed(address, text)
        raise
    attempts.worked(address, text)
    return found


def _of_job(request: Request, wanted: str, token: str) -> None:
    try:
        job_id = parse_job_id(wanted)
    except GatewayError as exc:  # who has no token is told nothing of what jobs there are
        raise GatewayError(AppCode.INVALID_TOKEN, "This token is not that job's.") from exc
    services_of(request).nodes.check(job_id, token)


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
