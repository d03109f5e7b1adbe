"""The gateway's road to the object store: looking at objects, granting access, verifying what was written.

The only room that holds S3 keys. Errors of botocore end here, as GatewayError for users or
`S3UnavailableError` where trying again may help.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from gateway import wire
from gateway.config import S3Section
from gateway.errors import AppCode, GatewayError
from gateway.s3.errors import S3UnavailableError, encrypted
from gateway.s3.parts import part_count, part_sizes
from gateway.s3.paths import MAX_KEY_BYTES
from gateway.s3.reach import THREADS, Reach
from gateway.s3.stores import store_of

__all__ = ["Algorithm", "Checksum", "Grant", "ObjectInfo", "ObjectStore", "S3UnavailableError"]

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_CHECK = ".cts-write-check"
_WRITABLE, _MOST_WRITTEN = 30.0, 10_000  # seconds; places that are kept
_GONE = ("NoSuchUpload", "NoSuchKey", "NoSuchBucket", "404")  # NoSuchKey is what RGW says of parts


@dataclass(frozen=True)
class ObjectInfo:
    """An object as S3 shows it. `size` in bytes; `etag` without quotes; the CRCs base64, of the whole object."""

    size: int
    etag: str
    part_sizes: list[int] | None
    crc64nvme: str | None
    crc32: str | None = None

    @property
    def etag_is_md5(self) -> bool:
        """Whether ETag and part sizes prove the bytes; where not, only the CRC does."""
        return self.part_sizes is not None or _MD5.fullmatch(self.etag) is not None


Algorithm = Literal["CRC64NVME", "CRC32"]


@dataclass(frozen=True)
class Checksum:
    """A CRC of a whole object that S3 is told with it; `value` is base64."""

    algorithm: Algorithm
    value: str


@dataclass(frozen=True)
class Grant:
    """A presigned request: send `headers` exactly as they are."""

    url: str
    headers: dict[str, str]


class ObjectStore:
    """The object stores of the configuration; each call goes to the one that its bucket lies in.

    Where a bucket lies in none, each raises ILLEGAL_S3_PATH.

    Raises
    ------
    ConfigError
        As `Reach`.
    """

    def __init__(
        self, config: S3Section, *, connect_timeout: float = 5, read_timeout: float = 30
    ) -> None:
        self._config = config
        self._stores = {
            name: Reach(store, name, connect_timeout=connect_timeout, read_timeout=read_timeout)
            for name, store in config.each().items()
        }
        self._written: dict[tuple[str, str], float] = {}  # where writing went well, and when
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="s3")
        self._parts = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="s3-parts")

    def store(self, name: str) -> Reach:
        """Return a store by its name; "" is that of [s3] itself."""
        return self._stores[name]

    def at(self, bucket: str) -> Reach:
        """Return the store that a bucket lies in."""
        return self._stores[store_of(self._config, bucket)]

    def inspect_all(self, objects: list[tuple[str, str]]) -> list[ObjectInfo]:
        """Look at many objects (bucket, key) at once, in the order given; the first error is raised."""
        return list(self._pool.map(lambda pair: self.inspect(*pair), objects))

    def look(self, objects: list[tuple[str, str]]) -> list[ObjectInfo | None]:
        """Look at many objects at once, in the order given; None for one that is not there or says nothing of its bytes."""
        return list(self._pool.map(lambda pair: self._look(*pair), objects))

    def _look(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            return self.inspect(bucket, key)
        except GatewayError as exc:
            if exc.code in (AppCode.S3_PATH_NOT_FOUND, AppCode.UNSUPPORTED):
                return None
            raise

    def inspect(self, bucket: str, key: str) -> ObjectInfo:
        """Look at one object: size, ETag, parts and checksum.

        Raises
        ------
        GatewayError
            S3_PATH_NOT_FOUND, S3_BUCKET_NOT_FOUND, S3_PATH_INACCESSIBLE, or UNSUPPORTED for an object
            encrypted with SSE-C or SSE-KMS, whose ETag says nothing of its bytes, or that is archived, or
            that nothing could verify.
        S3UnavailableError
        """
        at = self.at(bucket)
        with at.told(bucket, key):
            head = at.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            etag, size = head["ETag"].strip('"'), head["ContentLength"]
        if head.get("SSECustomerAlgorithm") or head.get("ServerSideEncryption", "").startswith(
            "aws:kms"
        ):
            raise encrypted(bucket, key)
        if head.get("StorageClass") in _ARCHIVED and 'ongoing-request="false"' not in head.get(
            "Restore", ""
        ):
            raise GatewayError(
                AppCode.UNSUPPORTED,
                f"{bucket}/{key} is archived ({head['StorageClass']}) and cannot be read; restore it first.",
            )
        crc = _of_all(head, head.get("ChecksumCRC64NVME"))
        count = part_count(etag)
        parts = None
        if count is not None:
            parts = part_sizes(at.client, at.teller, self._parts, bucket, key, size, count)
        info = ObjectInfo(size, etag, parts, crc, _of_all(head, head.get("ChecksumCRC32")))
        if crc is None and not info.etag_is_md5:
            raise GatewayError(
                AppCode.UNSUPPORTED,
                f"{bucket}/{key}: its ETag {etag[:100]!r} proves nothing of its bytes (its parts cannot be learned from the "
                "store), and it has no CRC64NVME of the whole object, so a download could not be verified. Copy it with a "
                "tool that stores checksums.",
            )
        return info

    def listed(self, bucket: str, prefix: str, most: int) -> list[tuple[str, int]]:
        """List the objects below a prefix, key and bytes, in the order of their keys' UTF-8.

        Markers of directories, empty objects whose key ends in a slash, count nothing; past `most` of the others the rest
        is not asked for.

        Raises
        ------
        GatewayError
            S3_BUCKET_NOT_FOUND, S3_PATH_INACCESSIBLE.
        S3UnavailableError
        """
        at = self.at(bucket)
        found: list[tuple[str, int]] = []
        count = 0
        with at.told(bucket, prefix):
            pages = at.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix
            )
            for page in pages:
                rows = [(row["Key"], row["Size"]) for row in page.get("Contents", [])]
                found += rows
                count += sum(1 for key, size in rows if size or not key.endswith("/"))
                if count > most:
                    break
        return sorted(found, key=lambda row: row[0].encode("utf-8"))

    def check_writable(self, bucket: str, prefix: str) -> None:
        """See that the service may write below a prefix, leaving nothing behind: begins an upload and aborts it.

        Where that went well beside it (`a/b/` beside `a/c/`) in the last half minute it is not done again.

        Raises
        ------
        GatewayError
            S3_BUCKET_NOT_FOUND, S3_BUCKET_INACCESSIBLE, or ILLEGAL_S3_PATH for a prefix that leaves no room.
        S3UnavailableError
        """
        key = f"{prefix}{_CHECK}"
        if len(key.encode()) > MAX_KEY_BYTES:
            raise GatewayError(
                AppCode.ILLEGAL_S3_PATH,
                f"The output path {prefix[:100]!r}… leaves no room for the names of files; use a shorter one.",
            )
        beside = bucket, prefix.rstrip("/").rpartition("/")[0]
        if self._written.get(beside, 0.0) > time.monotonic() - _WRITABLE:
            return
        at = self.at(bucket)
        with at.told(bucket, None, writing=True):
            upload = at.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            at.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        if len(self._written) >= _MOST_WRITTEN:
            self._written.clear()
        self._written[beside] = time.monotonic()

    def grant_get(self, bucket: str, key: str) -> Grant:
        """Presign a GET of one object."""
        return self._presign("get_object", {"Bucket": bucket, "Key": key}, {})

    def grant_put(self, bucket: str, key: str, md5: str | None, checksum: Checksum | None) -> Grant:
        """Presign a PUT of exactly those bytes: what is given of MD5 (base64) and CRC is part of the signature."""
        headers: dict[str, str] = {}
        parameters: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if md5 is not None:
            parameters["ContentMD5"] = headers["Content-MD5"] = md5
        if checksum is not None:
            name = checksum.algorithm
            parameters |= {f"Checksum{name}": checksum.value, "ChecksumAlgorithm": name}
            # Without the second header Ceph RGW takes the object and drops its checksum.
            headers[f"x-amz-checksum-{name.lower()}"] = checksum.value
            headers["x-amz-sdk-checksum-algorithm"] = name
        return self._presign("put_object", parameters, headers)

    def start_upload(self, bucket: str, key: str, algorithm: Algorithm | None) -> str:
        """Begin a multipart upload, of which the store keeps that CRC of all; returns its id."""
        extra: dict[str, Any] = (
            {}
            if algorithm is None
            else {"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"}
        )
        at = self.at(bucket)
        with at.told(bucket, key, writing=True):
            return at.client.create_multipart_upload(Bucket=bucket, Key=key, **extra)["UploadId"]

    def grant_part(self, bucket: str, key: str, upload: str, number: int, md5: str | None) -> Grant:
        """Presign the upload of one part: with that MD5 (base64), or of whatever bytes, which S3 then tells the checksum of."""
        parameters = {"Bucket": bucket, "Key": key, "UploadId": upload, "PartNumber": number}
        if md5 is None:
            return self._presign("upload_part", parameters, {})
        return self._presign("upload_part", parameters | {"ContentMD5": md5}, {"Content-MD5": md5})

    def grant_complete(self, bucket: str, key: str, upload: str) -> Grant:
        """Presign the POST that completes a multipart upload; its body is the list of parts."""
        return self._presign(
            "complete_multipart_upload", {"Bucket": bucket, "Key": key, "UploadId": upload}, {}
        )

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is complete or gone is no error."""
        at = self.at(bucket)
        with at.told(bucket, key, writing=True):
            try:
                at.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in _GONE:
                    raise

    def uploads_at(self, bucket: str, key: str) -> list[str]:
        """List the ids of the multipart uploads that are under way at a key, whoever began them."""
        at = self.at(bucket)
        found: list[str] = []
        with at.told(bucket, key, writing=True):
            pages = at.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=key
            )
            for page in pages:
                rows = page.get("Uploads", [])
                found += [row["UploadId"] for row in rows if row["Key"] == key]
                if rows and rows[-1]["Key"] > key:
                    break
        return found

    def parts_there(self, bucket: str, key: str, upload: str) -> list[wire.PartThere] | None:
        """List the parts that a multipart upload has; None for one that is completed, aborted or unknown."""
        at = self.at(bucket)
        found: list[wire.PartThere] = []
        with at.told(bucket, key, writing=True):
            try:
                pages = at.client.get_paginator("list_parts").paginate(
                    Bucket=bucket, Key=key, UploadId=upload
                )
                for page in pages:
                    found += [
                        wire.PartThere(
                            number=row["PartNumber"], size=row["Size"], etag=row["ETag"].strip('"')
                        )
                        for row in page.get("Parts", [])
                    ]
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in _GONE:
                    raise
                return None
        return found

    def upload_open(self, bucket: str, key: str, upload: str) -> bool:
        """Whether a multipart upload can go on: neither completed nor aborted."""
        at = self.at(bucket)
        with at.told(bucket, key, writing=True):
            try:
                at.client.list_parts(Bucket=bucket, Key=key, UploadId=upload, MaxParts=1)
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in _GONE:
                    raise
                return False
        return True

    def _presign(self, method: str, parameters: dict[str, Any], headers: dict[str, str]) -> Grant:
        bucket = str(parameters["Bucket"])
        at = self.at(bucket)
        with at.told(bucket, str(parameters["Key"])):
            url = at.client.generate_presigned_url(
                method, Params=parameters, ExpiresIn=self._config.grant_seconds
            )
        return Grant(url, headers)


def _of_all(head: Mapping[str, Any], value: str | None) -> str | None:
    """Return a checksum where it is of the whole object, not of its parts' checksums."""
    whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    return value if whole and value is not None and "-" not in value else None
