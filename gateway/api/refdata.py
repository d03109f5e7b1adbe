"""Handlers of /refdata, and of what admins do with reference data."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BeforeValidator
from starlette.requests import Request

from gateway import wire
from gateway.api.params import caller_of, services_of
from gateway.jobs.fields import Crc64Nvme

S3Object = Annotated[
    str, Path(description="An object: bucket/key.", examples=["reference-data/gtdb-r220.tar.gz"])
]
RefdataId = Annotated[str, Path(description="The id of reference data.", examples=["3"])]
Cluster = Annotated[str, Path(description="A site.", examples=["dev"])]
# A + that was not written %2B arrives as a space, and base64 has none.
Crc = Annotated[
    Crc64Nvme | None,
    BeforeValidator(lambda text: text.replace(" ", "+") if isinstance(text, str) else text),
    Query(description="The CRC64NVME that the object must have, base64."),
]


def everything(request: Request) -> wire.RefdataList:
    """List all reference data, with its state at each site."""
    return wire.RefdataList(data=services_of(request).refdata.everything())


def by_id(request: Request, refdata_id: RefdataId) -> wire.Refdata:
    """Return one."""
    return services_of(request).refdata.get(refdata_id)


def by_path(request: Request, path: S3Object) -> wire.RefdataList:
    """List the registrations of an object, oldest first: one for each content that it was registered with."""
    return wire.RefdataList(data=services_of(request).refdata.of_path(path))


def register(
    request: Request,
    path: S3Object,
    crc64nvme: Crc = None,
    unpack: Annotated[
        bool, Query(description="Unpack it: .tar, .tar.gz, .tgz, .tar.zst, .zip, or one file .gz.")
    ] = False,
    force: Annotated[
        bool, Query(description="Register it although the same content is registered already.")
    ] = False,
) -> wire.Refdata:
    """Record an object as reference data; each active site stages it."""
    return services_of(request).refdata.register(
        caller_of(request), path, crc64nvme=crc64nvme, unpack=unpack, force=force
    )


def recover(request: Request, refdata_id: RefdataId, cluster: Cluster) -> None:
    """Stage it again at a site where that failed, or where it was cleaned."""
    services_of(request).refdata.recover(caller_of(request), refdata_id, cluster)


def clean(
    request: Request,
    refdata_id: RefdataId,
    cluster: Cluster,
    force: Annotated[
        bool, Query(description="Also while jobs that have not ended need it: those that run fail.")
    ] = False,
) -> None:
    """Remove it from a site's disk."""
    services_of(request).refdata.clean(caller_of(request), refdata_id, cluster, force=force)
