"""Queries on bearer tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, update
from sqlmodel import Session, col, or_, select

from gateway.store.tables import Token


def get(session: Session, token_id: str) -> Token | None:
    """Find a token by its public id."""
    return session.get(Token, token_id)


def of_user(session: Session, user: str | None) -> list[Token]:
    """List the tokens of a user, or of everybody, the newest first; also those that do not work any more."""
    query = select(Token).order_by(col(Token.created).desc(), col(Token.id))
    return list(session.exec(query if user is None else query.where(Token.user == user)))


def count_live(session: Session, user: str, time: datetime) -> int:
    """Count the tokens of a user that work at a time."""
    query = select(func.count()).where(
        Token.user == user, col(Token.revoked).is_(None), Token.expires > time
    )
    return session.exec(query).one()


def used(session: Session, token_id: str, time: datetime, since: datetime) -> None:
    """Note that a token was used, unless that was noted after `since`."""
    old = or_(col(Token.last_used).is_(None), col(Token.last_used) <= since)
    session.connection().execute(
        update(Token).where(col(Token.id) == token_id, old).values(last_used=time)
    )


def forget(session: Session, user: str, before: datetime) -> None:
    """Delete the tokens of a user that have not worked since some time."""
    for row in of_user(session, user):
        if min(row.expires, row.revoked or row.expires) < before:
            session.delete(row)
