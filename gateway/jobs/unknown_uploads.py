"""Multipart uploads whose ids were lost, because the daemon died between beginning one and writing its id down."""

from __future__ import annotations

import structlog

from gateway.s3.client import ObjectStore
from gateway.store import uploads
from gateway.store.db import Database

log = structlog.get_logger()
BEGUN = ""  # in place of an id: one may have begun whose id was never stored


def abort_unknown(database: Database, objects: ObjectStore, bucket: str, key: str) -> None:
    """Abort what is under way at a key and is no upload that a job or a user is known to have.

    Raises
    ------
    GatewayError
        Those of the store.
    """
    under_way = objects.uploads_at(bucket, key)
    if not under_way:
        return
    with database.read() as session:
        known = uploads.known(session, bucket, key)
    for upload in under_way:
        if upload not in known:
            log.info("upload.unknown", bucket=bucket, key=key)
            objects.abort_upload(bucket, key, upload)
