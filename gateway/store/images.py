"""Queries on approved images, and on where they are staged."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, delete, select

from gateway.store.jobs import ENDED, now
from gateway.store.tables import Image, ImageSite, Job

UNDER_WAY = ("created", "download_submitted")


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
    """List all approved images by name, those of one name the oldest first."""
    return list(session.exec(select(Image).order_by(col(Image.name), col(Image.id))))


def remove(session: Session, image: Image) -> None:
    """Forget an image, and where it is staged."""
    session.exec(delete(ImageSite).where(col(ImageSite.image_id) == image.id))
    session.delete(image)


def sites(session: Session, image_ids: Sequence[int]) -> list[ImageSite]:
    """Return where some images are staged, by site."""
    query = select(ImageSite).where(col(ImageSite.image_id).in_(image_ids))
    return list(session.exec(query.order_by(col(ImageSite.site))))


def to_stage(session: Session, site: str) -> list[tuple[ImageSite, Image]]:
    """Return what is under way at a site."""
    query = select(ImageSite, Image).where(
        ImageSite.image_id == Image.id,
        ImageSite.site == site,
        col(ImageSite.state).in_(UNDER_WAY),
    )
    return list(session.exec(query.order_by(col(Image.id))))


def needed(session: Session, site: str) -> dict[str, int]:
    """Return how many jobs that have not ended need an image at a site, by its digest for the site's platform."""
    digest = func.coalesce(
        col(Job.image)["platform_digest"].as_string(), col(Job.image)["digest"].as_string()
    )
    query = (
        sa_select(digest, func.count())
        .where(col(Job.site) == site, col(Job.phase).not_in(ENDED))
        .group_by(digest)
    )
    return {name: count for name, count in session.execute(query) if name is not None}


def move(session: Session, row: ImageSite, state: str, error: str | None = None) -> None:
    """Bring an image into a state at a site."""
    row.state, row.error, row.updated = state, error, now()
    session.add(row)
