"""Whether an object store does what the gateway needs of it: for `ctsd check`, in the words of an admin.

Its keys list buckets. What is written has ETags of MD5, also in parts, whose sizes the store tells: so bytes are verified.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, SSLError

from gateway.errors import AppCode, GatewayError
from gateway.s3.announced import expected_etag
from gateway.s3.errors import S3UnavailableError
from gateway.s3.parts import part_sizes
from gateway.s3.reach import Reach, content_md5

if TYPE_CHECKING:
    pass

_PART = 5 << 20  # the least that S3 takes of a part that is not the last
_BYTES = b"ctsd check writes this and removes it\n"
_PIECES = (bytes(_PART), _BYTES)


def list_buckets(reach: Reach) -> str:
    """List the buckets, which shows that the store is reached, its certificate trusted and its keys good.

    Raises
    ------
    GatewayError
        With the key of the configuration to look at.
    """
    section = reach.section
    try:
        return f"{len(reach.buckets())} buckets listed"
    except GatewayError as exc:
        cause = exc.__cause__
        if isinstance(cause, SSLError):
            said = f"The certificate is not trusted, or there is no TLS ({_last(cause)}). Name the CA, PEM, in {section}.ca_file."
        elif not isinstance(exc, S3UnavailableError) and isinstance(cause, ClientError):
            said = (
                "The keys are good and may not list buckets, by which the gateway knows keys that are not. "
                f"Allow that (s3:ListAllMyBuckets) to the user of {section}.credentials_file."
            )
        elif isinstance(cause, ClientError) and "keys are refused" in exc.message:
            said = f"{exc.message} They are those of {section}.credentials_file, profile {section}.profile."
        else:
            said = f"{exc.message} The address is {section}.endpoint_url."
        raise GatewayError(exc.code, said) from exc


def write_and_remove(reach: Reach, place: str) -> str:
    """Write two objects at `place` (`bucket` or `bucket/prefix`), see what the store says of them, and remove them.

    Raises
    ------
    GatewayError
        When jobs could not write there, or what they wrote could not be verified; it says what would be right.
    """
    bucket, _, prefix = place.partition("/")
    key = f"{prefix}/" * bool(prefix) + f".cts-check-{secrets.token_hex(8)}"
    _put(reach, bucket, key)
    with _removed(reach, bucket, key):
        _see(reach, bucket, key)
    _put_parts(reach, bucket, key)
    with _removed(reach, bucket, key):
        known = _see_parts(reach, bucket, key)
    told = (
        "the sizes of parts are known"
        if known
        else (
            "the sizes of parts cannot be learned, so that inputs that were uploaded in parts need a CRC64NVME"
        )
    )
    return f"written and removed at {place}: ETags are MD5, {told}"


def _put(reach: Reach, bucket: str, key: str) -> None:
    with reach.told(bucket, key, writing=True):
        reach.client.put_object(Bucket=bucket, Key=key, Body=_BYTES, ContentMD5=content_md5(_BYTES))


def _see(reach: Reach, bucket: str, key: str) -> None:
    with reach.told(bucket, key):
        head = reach.client.head_object(Bucket=bucket, Key=key)
        etag, how = head["ETag"].strip('"'), head.get("ServerSideEncryption", "")
    if how.startswith("aws:kms"):
        raise _unverifiable(bucket, f"encrypts what is written with a KMS key ({how})")
    if etag != expected_etag(key, len(_BYTES), content_md5(_BYTES), None, _PART):
        raise _unverifiable(bucket, f"gives an object the ETag {etag[:80]!r}, which is not its MD5")


def _put_parts(reach: Reach, bucket: str, key: str) -> None:
    client = reach.client
    with reach.told(bucket, key, writing=True):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        try:
            parts = [
                reach.put_part(bucket, key, upload, number, data)
                for number, data in enumerate(_PIECES, 1)
            ]
            client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise


def _see_parts(reach: Reach, bucket: str, key: str) -> bool:
    """Check the ETag of the parts; tell whether their sizes can be learned."""
    sizes = [len(data) for data in _PIECES]
    with reach.told(bucket, key):
        etag = reach.client.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
    if etag != expected_etag(key, sum(sizes), "", [content_md5(data) for data in _PIECES], _PART):
        raise _unverifiable(
            bucket,
            f"gives an object of two parts the ETag {etag[:80]!r}, which is not that of them",
        )
    with ThreadPoolExecutor(2) as pool:
        known = part_sizes(reach.client, reach.teller, pool, bucket, key, sum(sizes), len(sizes))
    return known == sizes


@contextmanager
def _removed(reach: Reach, bucket: str, key: str) -> Iterator[None]:
    """Have the object that was written gone at the end, whatever happens; one that stays is told."""
    try:
        yield
    except GatewayError as exc:
        left = _left(reach, bucket, key)
        raise GatewayError(exc.code, f"{exc.message}{left and ' ' + left}") from exc
    left = _left(reach, bucket, key)
    if left:
        raise GatewayError(AppCode.S3_PATH_INACCESSIBLE, left)


def _left(reach: Reach, bucket: str, key: str) -> str:
    try:
        with reach.told(bucket, key, writing=True):
            _remove(reach, bucket, key)
    except GatewayError as exc:
        return (
            f"{bucket}/{key} is left, for it cannot be removed: {exc.message} Remove it, and allow the gateway to delete there "
            f"(s3:DeleteObject, s3:DeleteObjectVersion) or leave {reach.section}.check_prefix out."
        )
    return ""


def _remove(reach: Reach, bucket: str, key: str) -> None:
    """Remove the object; in a bucket with versions that is every version of it, and the mark that it is deleted."""
    gone = reach.client.delete_object(Bucket=bucket, Key=key)
    if "VersionId" not in gone and not gone.get("DeleteMarker"):
        return
    found = reach.client.list_object_versions(Bucket=bucket, Prefix=key)
    for row in (*found.get("Versions", []), *found.get("DeleteMarkers", [])):
        reach.client.delete_object(Bucket=bucket, Key=row["Key"], VersionId=row["VersionId"])


def _unverifiable(bucket: str, what: str) -> GatewayError:
    return GatewayError(
        AppCode.UNSUPPORTED,
        f"The bucket {bucket!r} {what}: what jobs write there could not be verified. Have it encrypt with the store's own "
        "keys (SSE-S3) or not at all.",
    )


def _last(exc: Exception) -> str:
    """Return the end of a chain of messages, which says what is wrong, on one line."""
    return " ".join(str(exc).split())[-120:]
