"""Who asks: the kernel's word for the uid at the other end, then the system's user and group database."""

from __future__ import annotations

import grp
import os
import pwd
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from starlette.requests import Request

from gateway.config import RolesSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller

_FRESH = 60.0  # seconds
_MOST = 10_000  # users kept


class Names(Protocol):
    """The system's users and groups (NSS)."""

    def user(self, uid: int) -> str:
        """Return a user's name; KeyError where the uid has none."""

    def groups(self, user: str, gid: int) -> list[int]:
        """Return the gids of a user, `gid` among them."""

    def group(self, gid: int) -> str:
        """Return a group's name; KeyError where the gid has none."""


class SystemNames:
    """NSS as this machine has it: files, LDAP, sssd."""

    def user(self, uid: int) -> str:
        """Return a user's name."""
        return pwd.getpwuid(uid).pw_name

    def groups(self, user: str, gid: int) -> list[int]:
        """Return the gids of a user."""
        return os.getgrouplist(user, gid)

    def group(self, gid: int) -> str:
        """Return a group's name."""
        return grp.getgrgid(gid).gr_name


class Directory:
    """Users by uid. Answers are kept a minute: with LDAP, a user in hundreds of groups costs hundreds of questions.

    A change of somebody's groups is therefore seen a minute later at most.
    """

    def __init__(
        self, names: Names | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names or SystemNames()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], tuple[float, str, frozenset[str]]] = {}

    def find(self, uid: int, gid: int) -> tuple[str, frozenset[str]]:
        """Return the name and the groups of a user whose process has this uid and gid.

        Raises
        ------
        KeyError
            When the uid has no name.
        """
        with self._lock:
            kept = self._known.get((uid, gid))
        if kept is not None and self._clock() - kept[0] < _FRESH:
            return kept[1], kept[2]
        user = self._names.user(uid)
        groups = frozenset(self._group(number) for number in self._names.groups(user, gid))
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[uid, gid] = (self._clock(), user, groups)
        return user, groups

    def _group(self, gid: int) -> str:
        try:
            return self._names.group(gid)
        except KeyError:
            return str(gid)


def caller_of(request: Request, roles: RolesSection, directory: Directory) -> Caller:
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
        user, groups = directory.find(uid, gid)
    except KeyError as exc:
        raise GatewayError(
            AppCode.INVALID_USER, f"The uid {uid} has no user name on this machine."
        ) from exc
    admin = user in roles.admin_users or bool(groups & set(roles.admin_groups))
    return Caller(user, uid, groups, admin, f"uid={uid} pid={pid}")
