"""Queries on approved images."""

from __future__ import annotations

from sqlmodel import Session, col, select

from gateway.store.tables import Image


def find(
    session: Session, name: str, *, tag: str | None = None, digest: str | None = None
) -> Image | None:
    """Find an approved image of that name by digest, or else by tag; the newest where there are several."""
    query = select(Image).where(Image.name == name)
    if digest is not None:
        query = query.where(Image.digest == digest)
    elif tag is not None:
        query = query.where(Image.tag == tag)
    return session.exec(query.order_by(col(Image.id).desc())).first()


def everything(session: Session) -> list[Image]:
    """List all approved images, oldest first."""
    return list(session.exec(select(Image).order_by(col(Image.id))))
