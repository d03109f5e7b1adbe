"""Handlers of /admin/cache: the image caches of the sites."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request

from gateway import wire
from gateway.api.params import Words, caller_of, services_of

Cluster = Annotated[str, Path(description="A site.", examples=["dev"])]
Digest = Annotated[
    str,
    Path(
        description="The digest of an image for the site's platform, as the cache has it.",
        pattern=r"^sha256:[0-9a-f]{64}$",
        examples=["sha256:" + "0123456789abcdef" * 4],
    ),
]
Most = Annotated[
    int | None, Query(description="Bytes that may stay; without it the site's own bound.", ge=0)
]


def caches(request: Request, cluster: Words = None) -> wire.ImageCaches:
    """List what is in the image caches of the sites named, or of all."""
    return wire.ImageCaches(data=services_of(request).cache.everything(cluster or ()))


def remove(request: Request, cluster: Cluster, digest: Digest) -> None:
    """Remove an image from a cache; not while jobs need it. A job that wants it later has it converted again."""
    services_of(request).cache.remove(caller_of(request), cluster, digest)


def verify(request: Request, cluster: Cluster, digest: Digest) -> wire.CacheCheck:
    """Read an image in a cache whole and say whether it is what was converted."""
    return services_of(request).cache.verify(caller_of(request), cluster, digest)


def prune(request: Request, cluster: Cluster, max_size: Most = None) -> wire.Pruned:
    """Remove what no job needs, unused for longest first, until the cache is within its bound."""
    return services_of(request).cache.prune(caller_of(request), cluster, max_size)
