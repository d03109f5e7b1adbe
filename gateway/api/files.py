"""Handlers of /files: presigned requests for files of users, in and out."""

from __future__ import annotations

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from gateway import wire
from gateway.api.params import caller_of, limiter_of, services_of
from gateway.jobs.files import MOST_FILES, Announced

_AT_ONE_TIME = 8  # each asks S3 for its files, and reading must not wait for that
_MIB = 1024**2


class FilesToWrite(BaseModel):
    """The body of POST /files."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "files": [
                    {
                        "file": "sample-data/mine/a.txt",
                        "size": 6,
                        "md5": "sZRqySSS0jR8YjW00mERhA==",
                        "crc64nvme": "akP7S61aVgc=",
                    }
                ]
            }
        },
    )

    files: Annotated[list[Announced], Field(min_length=1, max_length=MOST_FILES)]
    part_size: Annotated[
        int,
        Field(
            ge=5 * _MIB,
            le=5 * 1024 * _MIB,
            description="Bytes. Larger files are uploaded in parts of this size.",
        ),
    ] = 64 * _MIB


class FilesToRead(BaseModel):
    """The body of POST /files/read."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"files": ["sample-data/reads/sample-2.txt"]}},
    )

    files: Annotated[
        list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=MOST_FILES)
    ]


async def write(request: Request, wanted: FilesToWrite) -> wire.Uploads:
    """Ask for presigned requests that write files: of exactly these bytes, and where the caller may write.

    A file that is there already with the same bytes needs no request. One larger than a part is a multipart upload;
    asked again within a week, it goes on. What is at these paths is replaced.
    """
    service, caller = services_of(request).files, caller_of(request)
    return await to_thread.run_sync(
        service.write, caller, wanted.files, wanted.part_size, limiter=_limiter(request)
    )


async def read(request: Request, wanted: FilesToRead) -> wire.Downloads:
    """Ask for presigned requests that read objects, where the caller may read, with the checksums to check them by."""
    service, caller = services_of(request).files, caller_of(request)
    return await to_thread.run_sync(service.read, caller, wanted.files, limiter=_limiter(request))


def _limiter(request: Request) -> CapacityLimiter:
    return limiter_of(request, "files", _AT_ONE_TIME)
