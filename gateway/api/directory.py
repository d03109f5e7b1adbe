"""The system's user and group database, asked once a minute for each user."""

from __future__ import annotations

import grp
import os
import pwd
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

_FRESH = 60.0  # seconds
_MOST = 10_000  # users kept


class Names(Protocol):
    """The system's users and groups (NSS)."""

    def user(self, uid: int) -> str:
        """Return a user's name; KeyError where the uid has none."""

    def account(self, user: str) -> tuple[int, int]:
        """Return the uid and the gid of a user; KeyError where there is none of that name."""

    def groups(self, user: str, gid: int) -> list[int]:
        """Return the gids of a user, `gid` among them."""

    def group(self, gid: int) -> str:
        """Return a group's name; KeyError where the gid has none."""


class SystemNames:
    """NSS as this machine has it: files, LDAP, sssd."""

    def user(self, uid: int) -> str:
        """Return a user's name."""
        return pwd.getpwuid(uid).pw_name

    def account(self, user: str) -> tuple[int, int]:
        """Return the uid and the gid of a user."""
        found = pwd.getpwnam(user)
        if found.pw_name != user:  # a directory that takes ALICE for alice: the gateway does not
            raise KeyError(user)
        return found.pw_uid, found.pw_gid

    def groups(self, user: str, gid: int) -> list[int]:
        """Return the gids of a user."""
        return os.getgrouplist(user, gid)

    def group(self, gid: int) -> str:
        """Return a group's name."""
        return grp.getgrgid(gid).gr_name


@dataclass(frozen=True)
class _Known:
    time: float
    user: str
    uid: int
    groups: frozenset[str]


class Directory:
    """Users by uid and by name. Answers are kept a minute: with LDAP, a user in hundreds of groups costs hundreds of questions.

    A change of somebody's groups is therefore seen a minute later at most.
    """

    def __init__(
        self, names: Names | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names or SystemNames()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[int | str | None, ...], _Known] = {}

    def find(self, uid: int, gid: int) -> tuple[str, frozenset[str]]:
        """Return the name and the groups of a user whose process has this uid and gid.

        Raises
        ------
        KeyError
            When the uid has no name.
        """
        kept = self._kept(uid, gid)
        if kept is not None:
            return kept.user, kept.groups
        user = self._names.user(uid)
        return user, self._keep((uid, gid), _Known(self._clock(), user, uid, self._of(user, gid)))

    def named(self, user: str) -> tuple[int | None, frozenset[str]]:
        """Return the uid and the groups of a user by name: none and no groups where the machine does not know them."""
        kept = self._kept(user, None)
        if kept is not None:
            return kept.uid, kept.groups
        try:
            uid, gid = self._names.account(user)
        except KeyError:
            return None, frozenset()
        return uid, self._keep((user, None), _Known(self._clock(), user, uid, self._of(user, gid)))

    def _of(self, user: str, gid: int) -> frozenset[str]:
        return frozenset(self._group(number) for number in self._names.groups(user, gid))

    def _kept(self, *key: int | str | None) -> _Known | None:
        with self._lock:
            kept = self._known.get(key)
        return kept if kept is not None and self._clock() - kept.time < _FRESH else None

    def _keep(self, key: tuple[int | str | None, ...], known: _Known) -> frozenset[str]:
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = known
        return known.groups

    def _group(self, gid: int) -> str:
        try:
            return self._names.group(gid)
        except KeyError:
            return str(gid)
