"""Handlers of /images, and of their approval."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from gateway import wire
from gateway.api.params import caller_of, services_of
from gateway.errors import AppCode, GatewayError
from gateway.jobs.fields import MountPoint

Name = Annotated[
    str,
    Path(
        description="A name as Docker writes it, with a tag or a digest; slashes may be percent-encoded.",
        examples=["ghcr.io/kbase/checkm2:1.0.1"],
    ),
]


class ImageNotes(BaseModel):
    """The optional body of an approval."""

    model_config = ConfigDict(extra="forbid")

    urls: Annotated[list[str], Field(max_length=20)] | None = None
    usage_notes: Annotated[str, Field(max_length=10_000)] | None = None
    from_image: str | None = None


def images(request: Request) -> wire.Images:
    """List the approved images."""
    return wire.Images(data=services_of(request).images.everything())


def image(request: Request, name: Name) -> wire.Image:
    """Return one approved image."""
    return services_of(request).images.get(name)


def approve(
    request: Request,
    name: Name,
    refdata_id: str | None = None,
    default_refdata_mount_point: MountPoint | None = None,
    notes: ImageNotes | None = None,
) -> wire.Image:
    """Look an image up in its registry and let jobs use what it is now."""
    given = notes.model_dump() if notes is not None else {}
    # What would not be kept is refused: an admin who gave it must not believe that it was.
    for field, value in given.items():
        if value:
            raise GatewayError(
                AppCode.UNSUPPORTED, f"{field}: this gateway does not keep it yet; leave it out."
            )
    return services_of(request).images.approve(
        caller_of(request),
        name,
        refdata_id=refdata_id,
        default_refdata_mount_point=default_refdata_mount_point,
    )
