"""Files that somebody announces for upload: what S3 will say of them, and the presigned requests for just those bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from gateway import wire
from gateway.s3.client import Grant, ObjectStore
from gateway.s3.parts import MOST_PARTS


def expected_etag(
    what: str, size: int, md5: str, part_md5s: Sequence[str] | None, part_size: int
) -> str:
    """Return the ETag that S3 gives an upload of these bytes; checksums are base64, sizes bytes.

    Raises
    ------
    ValueError
        When parts of that size cannot make it, or their checksums are missing. `what` names it in the text.
    """
    if size <= part_size:
        return base64.b64decode(md5).hex()
    count = -(-size // part_size)
    if count > MOST_PARTS:
        raise ValueError(
            f"{what} has {size} bytes, and in parts of {part_size} bytes S3 takes at most {MOST_PARTS}; "
            "have larger parts"
        )
    if part_md5s is None or len(part_md5s) != count:
        raise ValueError(f"{what} needs the MD5 of each of its {count} parts")
    parts = b"".join(base64.b64decode(part) for part in part_md5s)
    return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{count}"


def grant_parts(
    objects: ObjectStore,
    bucket: str,
    key: str,
    upload: str,
    part_md5s: Sequence[str | None],
    size: int,
    there: Sequence[wire.PartThere],
) -> wire.Multipart:
    """Presign the parts, of `size` bytes each but the last, of a multipart upload, and its end; the MD5 of a part may be unknown.

    `there` are parts that it has.
    """
    return wire.Multipart(
        part_size=size,
        parts=[
            wire.PartGrant(number=n, **_fields(objects.grant_part(bucket, key, upload, n, md5)))
            for n, md5 in enumerate(part_md5s, 1)
        ],
        complete=wire_grant(objects.grant_complete(bucket, key, upload)),
        there=list(there),
    )


def wire_grant(grant: Grant) -> wire.Grant:
    """Return a presigned request as the API tells it."""
    return wire.Grant(url=grant.url, headers=grant.headers)


def _fields(grant: Grant) -> dict[str, object]:
    return {"url": grant.url, "headers": grant.headers}
