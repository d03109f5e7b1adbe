"""The audit log: every write to the system is a row, in the transaction of what it tells of."""

from __future__ import annotations

from sqlmodel import Session

from gateway.jobs.caller import Caller
from gateway.store.jobs import now
from gateway.store.tables import Audit

_MOST = 1000  # characters of what a caller wrote


def audit(session: Session, caller: Caller, action: str, target: str, result: str) -> None:
    """Add a row: who, from where, what, and how it went."""
    session.add(
        Audit(
            time=now(),
            user=caller.user,
            origin=caller.origin,
            action=action,
            target=target[:_MOST],
            result=result[:_MOST],
        )
    )
