"""Which of the configured object stores a bucket lies in.

By the bucket: what the stores' `buckets` say. Or by the name of the store, which is written before the bucket: `NAME:bucket`.
Each object has one path: where the bucket alone says it, the name is not taken, so that path rules need to know one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import S3Section, StoreSection
from gateway.errors import AppCode, GatewayError


def store_of(config: S3Section, bucket: str) -> str:
    """Return the name of the store that a bucket (`bucket` or `NAME:bucket`) lies in; "" is that of [s3] itself.

    Raises
    ------
    GatewayError
        ILLEGAL_S3_PATH for a bucket that lies in none, a store that is not there, and a name where the bucket says it.
    """
    name, _, alone = bucket.rpartition(":")
    found = config.by_bucket(alone)
    if name and name not in config.stores:
        known = ", ".join(sorted(config.stores)) or "none has a name"
        raise _illegal(
            f"The bucket {bucket!r} names the object store {name!r}, which is not there; known: {known}."
        )
    if name and found == name:
        raise _illegal(
            f"The bucket {bucket!r} names its object store without need; write {alone!r}: it lies in {name!r} by its own name."
        )
    if name:
        return name
    if found is None:
        patterns = sorted(each for store in config.each().values() for each in store.buckets)
        named = ", ".join(f"{name}:{alone}" for name in sorted(config.stores))
        raise _illegal(
            f"The bucket {bucket!r} lies in none of the object stores; their buckets are: {', '.join(patterns) or 'none'}. "
            + (f"Name the store, as in {named}, " if named else "Use one of those, ")
            + "or ask the admins to add it to the buckets of one."
        )
    return found


def section_of(config: S3Section, bucket: str) -> StoreSection:
    """Return the settings of the store that a bucket lies in; raises as `store_of`."""
    return config.each()[store_of(config, bucket)]


@dataclass(frozen=True)
class Trust:
    """What a node trusts of a host and the names below it; see docs/node-protocol.md."""

    host: str
    ca_file: str | None
    insecure: bool


def trusts(config: S3Section) -> list[Trust]:
    """Return what nodes trust of each store that is reached by TLS."""
    return [
        Trust(store.host(), str(store.ca_file) if store.ca_file else None, store.insecure)
        for store in config.each().values()
        if not (store.endpoint_url or "").startswith("http:")
    ]


def _illegal(text: str) -> GatewayError:
    return GatewayError(AppCode.ILLEGAL_S3_PATH, text)
