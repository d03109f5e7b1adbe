"""Who may use which S3 paths: the [[path_rules]] of the configuration. No rules: everywhere the service may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gateway import wire
from gateway.config import PathRule
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller

Perm = Literal["read", "write"]


def allowed_paths(rules: Sequence[PathRule], caller: Caller) -> list[wire.PathPermission]:
    """Return the paths that the rules give a caller, with {user} and {group} filled in."""
    found = []
    for rule in rules:
        if (
            (rule.users or rule.groups)
            and caller.user not in rule.users
            and not caller.groups & set(rule.groups)
        ):
            continue
        groups = sorted(caller.groups) if "{group}" in rule.path else [""]
        for group in groups:
            path = rule.path.replace("{user}", caller.user).replace("{group}", group)
            found.append(wire.PathPermission(path=path, perm=rule.perm))
    return found


def require(rules: Sequence[PathRule], caller: Caller, path: str, perm: Perm) -> None:
    """See that a caller may read or write a path; a right to write is also one to read.

    Raises
    ------
    GatewayError
        S3_PATH_INACCESSIBLE, naming the paths that are allowed.
    """
    if not rules or caller.admin:
        return
    mine = allowed_paths(rules, caller)
    good = [row.path for row in mine if perm == "read" or row.perm == "write"]
    if any(path == rule.rstrip("/") or path.startswith(rule.rstrip("/") + "/") for rule in good):
        return
    raise GatewayError(
        AppCode.S3_PATH_INACCESSIBLE,
        f"{caller.user} may not {perm} {path} here; allowed: {', '.join(good) or 'nothing'}.",
    )
