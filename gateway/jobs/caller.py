"""Who asks: what the API learned of a caller, for the services to decide on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """An identified caller. `origin` says from where, for the audit log: `uid=1000 pid=77`.

    `token` is the public id of the bearer token that the caller came with, None on the Unix socket.
    """

    user: str
    uid: int | None
    groups: frozenset[str]
    admin: bool
    origin: str
    token: str | None = None
