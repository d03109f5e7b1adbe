"""Queries on what users request of the admins."""

from __future__ import annotations

from sqlmodel import Session, col, func, select

from gateway.store.tables import Request

PENDING = "pending"
MOST_LISTED = 1000


def get(session: Session, request_id: int) -> Request | None:
    """Return a request."""
    return session.get(Request, request_id)


def listed(session: Session, user: str | None, state: str | None) -> list[Request]:
    """Return the requests of everybody, or of one user, the newest first."""
    query = select(Request)
    if user is not None:
        query = query.where(Request.user == user)
    if state is not None:
        query = query.where(Request.state == state)
    return list(session.exec(query.order_by(col(Request.id).desc()).limit(MOST_LISTED)))


def pending(session: Session, like: Request, user: str | None = None) -> list[Request]:
    """Return the pending requests for the same thing, of everybody or of one user, the oldest first."""
    query = select(Request).where(
        Request.state == PENDING,
        Request.kind == like.kind,
        Request.target == like.target,
        Request.unpack == like.unpack,
    )
    if user is not None:
        query = query.where(Request.user == user)
    return list(session.exec(query.order_by(col(Request.id))))


def count_pending(session: Session, user: str) -> int:
    """Return how many requests of a user wait for an answer."""
    query = select(func.count()).where(Request.user == user, Request.state == PENDING)
    return session.exec(query).one()
