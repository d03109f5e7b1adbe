"""The audit log: every write to the system is a row, in the transaction of what it tells of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session

from gateway.errors import GatewayError
from gateway.jobs.caller import Caller
from gateway.store.db import Database
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


@contextmanager
def audited(database: Database, caller: Caller, action: str, target: str) -> Iterator[None]:
    """Add a row when what is inside is over: `ok`, what it was refused with, or `failed`."""
    result = "failed"
    try:
        yield
        result = "ok"
    except GatewayError as exc:
        result = exc.message
        raise
    finally:
        with database.write() as session:
            audit(session, caller, action, target, result)
