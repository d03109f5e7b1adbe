"""Handlers of /requests: what users ask the admins for, and the admins' answers."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request

from gateway import wire
from gateway.api.images import ImageNotes
from gateway.api.params import caller_of, services_of
from gateway.jobs.fields import MountPoint, check_text


def _note(text: str) -> str:
    return check_text(text, 2000, also="\n\t")


RequestId = Annotated[str, Path(description="The id of a request.", examples=["7"])]
State = Annotated[wire.RequestState | None, Query(description="Only requests in this state.")]
Note = Annotated[str, AfterValidator(_note), Field(max_length=2000)]


class RequestInput(BaseModel):
    """The body of POST /requests."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "image", "target": "ghcr.io/kbase/checkm2:1.0.2", "note": "for bins"},
                {"kind": "refdata", "target": "reference-data/gtdb-r220.tar.gz", "unpack": True},
            ]
        },
    )

    kind: Literal["image", "refdata"]
    target: Annotated[str, Field(description="An image's name, or an object: bucket/key.")]
    unpack: bool = False
    note: Note | None = None


class Approval(ImageNotes):
    """The optional body of an approval: a word to the user, and for an image what its approval takes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"answer": "with the data of r220"}]})

    answer: Note | None = None
    refdata_id: str | None = None
    default_refdata_mount_point: MountPoint | None = None
    stage: bool = False


class Refusal(BaseModel):
    """The body of a refusal."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "version 1.0.1 has it all"}]}
    )

    reason: Note


def ask(request: Request, wanted: RequestInput) -> wire.Request:
    """Ask the admins for an image, or for an object of S3 as reference data. What is pending is not asked twice."""
    return services_of(request).requests.ask(
        caller_of(request), wanted.kind, wanted.target, unpack=wanted.unpack, note=wanted.note
    )


def my_requests(request: Request, state: State = None) -> wire.Requests:
    """List the caller's requests, the newest first."""
    return wire.Requests(requests=services_of(request).requests.mine(caller_of(request), state))


def one_request(request: Request, request_id: RequestId) -> wire.Request:
    """Return a request with its answer."""
    return services_of(request).requests.get(caller_of(request), request_id)


def all_requests(request: Request, user: str | None = None, state: State = None) -> wire.Requests:
    """List everybody's requests, or one user's, the newest first."""
    return wire.Requests(requests=services_of(request).requests.everything(user, state))


def approve_request(
    request: Request, request_id: RequestId, wanted: Approval | None = None
) -> wire.Request:
    """Approve the image, or register the object, that a request is for."""
    given = (wanted or Approval()).model_dump()
    return services_of(request).requests.approve(caller_of(request), request_id, **given)


def decline_request(request: Request, request_id: RequestId, wanted: Refusal) -> wire.Request:
    """Decline a request, with the reason that its user is told."""
    return services_of(request).requests.decline(caller_of(request), request_id, wanted.reason)
