"""Handlers of /images, and of what admins do with images."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request

from gateway import wire
from gateway.api.params import Words, caller_of, services_of
from gateway.jobs.fields import MountPoint, check_text

_URL = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)
_MAX_URL = 2000


def _url(text: str) -> str:
    if not _URL.fullmatch(check_text(text, _MAX_URL)):
        raise ValueError(f"must be an address of http or https, such as https://example.org/tool, not {text[:100]!r}")  # fmt: skip
    return text


def _notes(text: str) -> str:
    return check_text(text, 10_000, also="\n\t")


Name = Annotated[
    str,
    Path(
        description="A name as Docker writes it, with a tag or a digest; slashes may be percent-encoded.",
        examples=["ghcr.io/kbase/checkm2:1.0.1"],
    ),
]
Url = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"format": "uri"})]


class ImageNotes(BaseModel):
    """The optional body of an approval: what users are told of the image, and an approved image to take the rest from."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "urls": ["https://github.com/chklovski/CheckM2"],
                    "usage_notes": "Arguments: predict --input DIR --output-directory DIR",
                    "from_image": "ghcr.io/kbase/checkm2:1.0.0",
                }
            ]
        },
    )

    urls: Annotated[list[Url], Field(max_length=20)] | None = None
    usage_notes: Annotated[str, AfterValidator(_notes), Field(max_length=10_000)] | None = None
    from_image: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


def images(request: Request) -> wire.Images:
    """List the approved images, by name."""
    return wire.Images(data=services_of(request).images.everything())


def image(request: Request, name: Name) -> wire.Image:
    """Return one approved image."""
    return services_of(request).images.get(name)


def approve(
    request: Request,
    name: Name,
    refdata_id: str | None = None,
    default_refdata_mount_point: MountPoint | None = None,
    stage: Annotated[
        bool, Query(description="Have every active site fetch and convert it at once.")
    ] = False,
    notes: ImageNotes | None = None,
) -> wire.Image:
    """Look an image up in its registry and let jobs use what it is now."""
    given = notes or ImageNotes()
    return services_of(request).images.approve(
        caller_of(request),
        name,
        refdata_id=refdata_id,
        default_refdata_mount_point=default_refdata_mount_point,
        urls=given.urls,
        usage_notes=given.usage_notes,
        from_image=given.from_image,
        stage=stage,
    )


def delete(request: Request, name: Name) -> None:
    """Forget an image: its tag and digest are free again. Jobs that have it keep what it was, and go on."""
    services_of(request).images.delete(caller_of(request), name)


def stage(request: Request, name: Name, cluster: Words = None) -> wire.Image:
    """Have the sites named, or every active one, fetch and convert an image now, before a job wants it."""
    return services_of(request).images.stage(caller_of(request), name, cluster or ())
