"""Queries over the multipart uploads of users."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from gateway.store.tables import Upload


def same(session: Session, wanted: Upload) -> Upload | None:
    """Find the newest upload of the same user, object, bytes and parts."""
    query = select(Upload).where(
        Upload.user == wanted.user,
        Upload.bucket == wanted.bucket,
        Upload.key == wanted.key,
        Upload.size == wanted.size,
        Upload.md5 == wanted.md5,
        Upload.crc64nvme == wanted.crc64nvme,
        Upload.part_size == wanted.part_size,
    )
    return session.exec(query.order_by(col(Upload.id).desc()).limit(1)).first()


def older(session: Session, before: datetime, most: int) -> list[Upload]:
    """List uploads that were begun before a time, the oldest first."""
    query = select(Upload).where(Upload.created < before).order_by(col(Upload.id)).limit(most)
    return list(session.exec(query))


def forget(session: Session, row: Upload) -> None:
    """Remove one."""
    known = session.get(Upload, row.id)
    if known is not None:
        session.delete(known)
