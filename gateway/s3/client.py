"""The gateway's road to the object store: looking at objects, granting access, verifying what was written.

The only module that holds S3 keys. Errors of botocore end here, as GatewayError for users or
`S3UnavailableError` where trying again may help.
"""

from __future__ import annotations

import configparser
import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from gateway.config import S3Section
from gateway.errors import AppCode, ConfigError, GatewayError
from gateway.s3.errors import S3UnavailableError, Teller, encrypted
from gateway.s3.parts import part_count, part_sizes
from gateway.s3.paths import MAX_KEY_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Grant", "ObjectInfo", "ObjectStore", "S3UnavailableError"]

_THREADS = 32
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_CHECK = ".cts-write-check"
_WRITABLE, _MOST_WRITTEN = 30.0, 10_000  # seconds; places that are kept
_GONE = ("NoSuchUpload", "NoSuchKey", "NoSuchBucket", "404")  # NoSuchKey is what RGW says of parts


@dataclass(frozen=True)
class ObjectInfo:
    """An object as S3 shows it. `size` in bytes; `etag` without quotes; `crc64nvme` base64, of the whole object."""

    size: int
    etag: str
    part_sizes: list[int] | None
    crc64nvme: str | None

    @property
    def etag_is_md5(self) -> bool:
        """Whether ETag and part sizes prove the bytes; where not, only the CRC does."""
        return self.part_sizes is not None or _MD5.fullmatch(self.etag) is not None


@dataclass(frozen=True)
class Grant:
    """A presigned request: send `headers` exactly as they are."""

    url: str
    headers: dict[str, str]


class ObjectStore:
    """One S3 store with the service's own keys.

    Raises
    ------
    ConfigError
        When the credentials file cannot be read or has no such profile.
    """

    def __init__(
        self, config: S3Section, *, connect_timeout: float = 5, read_timeout: float = 30
    ) -> None:
        keys = _credentials(config)
        self._config = config
        self._written: dict[tuple[str, str], float] = {}  # where writing went well, and when
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3")
        self._parts = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3-parts")
        options = BotoConfig(
            signature_version="s3v4",
            s3={"addressing_style": config.addressing},
            max_pool_connections=_THREADS * 2,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "max_attempts": 3},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        if config.ca_file is not None and not config.ca_file.is_file():
            raise ConfigError(f"s3.ca_file: there is no file {config.ca_file}")
        verify = False if config.insecure else str(config.ca_file) if config.ca_file else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.client: S3Client = boto3.client(
                    "s3",
                    endpoint_url=config.endpoint_url,
                    region_name=config.region,
                    verify=verify,
                    config=options,
                    aws_access_key_id=keys.key,
                    aws_secret_access_key=keys.secret,
                    aws_session_token=keys.token,
                )
        except ValueError as exc:
            raise ConfigError(f"s3.endpoint_url or s3.region: {exc}") from exc
        self._teller = Teller(self.client, config.endpoint_url or "AWS")

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
        with self._teller.told(bucket, key):
            head = self.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
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
        crc: str | None = head.get("ChecksumCRC64NVME")
        if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or (
            crc is not None and "-" in crc
        ):
            crc = None
        count = part_count(etag)
        parts = None
        if count is not None:
            parts = part_sizes(self.client, self._teller, self._parts, bucket, key, size, count)
        info = ObjectInfo(size, etag, parts, crc)
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
        found: list[tuple[str, int]] = []
        count = 0
        with self._teller.told(bucket, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
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
        with self._teller.told(bucket, None, writing=True):
            upload = self.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        if len(self._written) >= _MOST_WRITTEN:
            self._written.clear()
        self._written[beside] = time.monotonic()

    def told(
        self, bucket: str, key: str | None, *, writing: bool = False
    ) -> AbstractContextManager[None]:
        """Have what a call of `client` about that object raises told as `inspect` tells it."""
        return self._teller.told(bucket, key, writing=writing)

    def buckets(self) -> list[str]:
        """Names of the buckets of the service's user; proves that the keys are right."""
        with self._teller.told("(all buckets)", None):
            return [row["Name"] for row in self.client.list_buckets().get("Buckets", [])]

    def grant_get(self, bucket: str, key: str) -> Grant:
        """Presign a GET of one object."""
        return self._presign("get_object", {"Bucket": bucket, "Key": key}, {})

    def grant_put(self, bucket: str, key: str, md5: str, crc64nvme: str | None) -> Grant:
        """Presign a PUT of exactly those bytes: MD5 and CRC64NVME, base64, are part of the signature."""
        headers = {"Content-MD5": md5}
        parameters: dict[str, Any] = {"Bucket": bucket, "Key": key, "ContentMD5": md5}
        if crc64nvme is not None:
            parameters |= {"ChecksumCRC64NVME": crc64nvme, "ChecksumAlgorithm": "CRC64NVME"}
            # Without the second header Ceph RGW takes the object and drops its checksum.
            headers["x-amz-checksum-crc64nvme"] = crc64nvme
            headers["x-amz-sdk-checksum-algorithm"] = "CRC64NVME"
        return self._presign("put_object", parameters, headers)

    def start_upload(self, bucket: str, key: str, crc64nvme: bool) -> str:
        """Begin a multipart upload; returns its id."""
        extra: dict[str, Any] = (
            {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if crc64nvme else {}
        )
        with self._teller.told(bucket, key, writing=True):
            return self.client.create_multipart_upload(Bucket=bucket, Key=key, **extra)["UploadId"]

    def grant_part(self, bucket: str, key: str, upload: str, number: int, md5: str) -> Grant:
        """Presign the upload of one part with that MD5 (base64)."""
        parameters = {
            "Bucket": bucket,
            "Key": key,
            "UploadId": upload,
            "PartNumber": number,
            "ContentMD5": md5,
        }
        return self._presign("upload_part", parameters, {"Content-MD5": md5})

    def grant_complete(self, bucket: str, key: str, upload: str) -> Grant:
        """Presign the POST that completes a multipart upload; its body is the list of parts."""
        return self._presign(
            "complete_multipart_upload", {"Bucket": bucket, "Key": key, "UploadId": upload}, {}
        )

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is complete or gone is no error."""
        with self._teller.told(bucket, key, writing=True):
            try:
                self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in _GONE:
                    raise

    def upload_open(self, bucket: str, key: str, upload: str) -> bool:
        """Whether a multipart upload can go on: neither completed nor aborted."""
        with self._teller.told(bucket, key, writing=True):
            try:
                self.client.list_parts(Bucket=bucket, Key=key, UploadId=upload, MaxParts=1)
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in _GONE:
                    raise
                return False
        return True

    def _presign(self, method: str, parameters: dict[str, Any], headers: dict[str, str]) -> Grant:
        with self._teller.told(str(parameters["Bucket"]), str(parameters["Key"])):
            url = self.client.generate_presigned_url(
                method, Params=parameters, ExpiresIn=self._config.grant_seconds
            )
        return Grant(url, headers)


@dataclass(frozen=True)
class _Keys:
    key: str
    secret: str
    token: str | None


def _credentials(config: S3Section) -> _Keys:
    parser = configparser.ConfigParser(interpolation=None)
    key: str | None
    secret: str | None
    try:
        with config.credentials_file.open(encoding="utf-8") as file:
            parser.read_file(file)
        section = parser[config.profile]
        key, secret = section["aws_access_key_id"], section["aws_secret_access_key"]
        token = section.get("aws_session_token")
    except OSError as exc:
        raise ConfigError(
            f"s3.credentials_file: cannot read {config.credentials_file}: {exc.strerror}"
        ) from exc
    except (KeyError, configparser.Error, UnicodeDecodeError):
        key = secret = token = None
    if not key or not secret:
        # What the parser says is not passed on: it quotes the line, which may be a secret.
        raise ConfigError(
            f"s3.credentials_file: {config.credentials_file} needs a section [{config.profile}] with "
            "aws_access_key_id and aws_secret_access_key"
        )
    return _Keys(key, secret, token or None)
