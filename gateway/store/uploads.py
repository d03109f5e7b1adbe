"""Queries over multipart uploads, of users and of jobs."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from gateway.store.tables import OutputFile, Upload


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
        Upload.upload_id != "",
    )
    return session.exec(query.order_by(col(Upload.id).desc()).limit(1)).first()


def older(session: Session, before: datetime, most: int) -> list[Upload]:
    """List uploads that were begun before a time, the oldest first."""
    query = select(Upload).where(Upload.created < before).order_by(col(Upload.id)).limit(most)
    return list(session.exec(query))


def known(session: Session, bucket: str, key: str) -> set[str]:
    """Return the ids of the uploads of an object that users and jobs have under way, as far as they are known."""
    of_users = select(Upload.upload_id).where(Upload.bucket == bucket, Upload.key == key)
    of_jobs = select(OutputFile.upload_id).where(OutputFile.bucket == bucket, OutputFile.key == key)
    found = {*session.exec(of_users), *session.exec(of_jobs)}
    return {each for each in found if each}


def forget(session: Session, row: Upload) -> None:
    """Remove one."""
    known = session.get(Upload, row.id)
    if known is not None:
        session.delete(known)
