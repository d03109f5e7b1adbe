"""From rows to the bodies of the wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlmodel import Session

from gateway import wire
from gateway.images.service import Variant
from gateway.store import images as store
from gateway.store.refdata import job_reasons
from gateway.store.tables import Image, ImageSite


def approved(row: Image) -> wire.ApprovedImage:
    """What an image was when it was approved: what its jobs keep of it."""
    return wire.ApprovedImage(
        name=row.name,
        digest=row.digest,
        tag=row.tag,
        entrypoint=row.entrypoint,
        refdata_id=None if row.refdata_id is None else str(row.refdata_id),
        default_refdata_mount_point=row.default_refdata_mount_point,
        registered_by=row.registered_by,
        registered_on=row.registered_on,
    )


def pinned(image: Image, variant: Variant) -> dict[str, object]:
    """Return what a job keeps of its image: what was approved, and what of it runs at the job's site."""
    config = variant.config
    return {
        **approved(image).model_dump(mode="json"),
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "workdir": config.workdir,
        "env": config.env,
        "platform": variant.platform,
        "platform_digest": variant.digest,
    }


def views(session: Session, rows: Sequence[Image]) -> list[wire.Image]:
    """Images with where they were staged."""
    at: dict[int, list[ImageSite]] = defaultdict(list)
    for each in store.sites(session, [row.id or 0 for row in rows]):
        at[each.image_id].append(each)
    waiting = [e.job_id for some in at.values() for e in some if e.state in store.UNDER_WAY]
    reasons = job_reasons(session, [number for number in waiting if number is not None])
    return [_view(row, at[row.id or 0], reasons) for row in rows]


def _view(row: Image, at: Sequence[ImageSite], reasons: dict[int, str | None]) -> wire.Image:
    return wire.Image(
        **approved(row).model_dump(),
        urls=row.urls,
        usage_notes=row.usage_notes,
        platforms=sorted(row.platforms),
        statuses=[
            wire.ImageStatus(
                cluster=each.site,
                state=each.state,
                updated=each.updated,
                job_id=None if each.job_id is None else str(each.job_id),
                error=each.error,
                reason=reasons.get(each.job_id or 0),
            )
            for each in at
        ],
    )
