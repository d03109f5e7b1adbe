"""The gateway's road to the object store: looking at objects, granting access, verifying what was written.

The only module that holds S3 keys. Errors of botocore end here, as GatewayError for users or
`S3UnavailableError` where trying again may help.
"""

from __future__ import annotations

import configparser
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from gateway.config import S3Section
from gateway.errors import AppCode, ConfigError, GatewayError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_THREADS = 32
_MANY_PARTS = 1000


class S3UnavailableError(GatewayError):
    """The object store cannot be reached or has trouble of its own; trying again later may help."""

    def __init__(self, message: str) -> None:
        super().__init__(AppCode.RESOURCE_UNAVAILABLE, message)


@dataclass(frozen=True)
class ObjectInfo:
    """An object as S3 shows it. `size` in bytes; `etag` without quotes; `crc64nvme` base64, of the whole object."""

    size: int
    etag: str
    part_sizes: list[int] | None
    crc64nvme: str | None


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

    def __init__(self, config: S3Section) -> None:
        key, secret = _credentials(config)
        self._config = config
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client: S3Client = boto3.client(
                "s3",
                endpoint_url=config.endpoint_url,
                region_name=config.region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                verify=False
                if config.insecure
                else (str(config.ca_file) if config.ca_file else None),
                config=BotoConfig(
                    signature_version="s3v4",
                    s3={"addressing_style": config.addressing},
                    max_pool_connections=_THREADS * 2,
                    connect_timeout=5,
                    read_timeout=30,
                    retries={"mode": "standard", "max_attempts": 3},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3")

    def inspect_all(self, objects: list[tuple[str, str]]) -> list[ObjectInfo]:
        """Look at many objects (bucket, key) at once, in the order given; the first error is raised."""
        return list(self._pool.map(lambda pair: self.inspect(*pair), objects))

    def inspect(self, bucket: str, key: str) -> ObjectInfo:
        """Look at one object: size, ETag, parts and checksum.

        Raises
        ------
        GatewayError
            S3_PATH_NOT_FOUND, S3_BUCKET_NOT_FOUND, S3_PATH_INACCESSIBLE, or UNSUPPORTED for an object
            encrypted with SSE-C or SSE-KMS, whose ETag says nothing of its bytes.
        S3UnavailableError
        """
        with self._errors(bucket, key):
            head = self.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        if head.get("SSECustomerAlgorithm") or head.get("ServerSideEncryption", "").startswith(
            "aws:kms"
        ):
            raise _encrypted(bucket, key)
        etag = head["ETag"].strip('"')
        size = head["ContentLength"]
        crc: str | None = head.get("ChecksumCRC64NVME")
        if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or (
            crc is not None and "-" in crc
        ):
            crc = None
        parts = self._part_sizes(bucket, key, size, etag) if "-" in etag else None
        if "-" in etag and parts is None and crc is None:
            raise GatewayError(
                AppCode.UNSUPPORTED,
                f"{bucket}/{key}: its parts cannot be learned from the store and it has no CRC64NVME of the whole "
                "object, so a download could not be verified. Copy it with a tool that stores checksums.",
            )
        return ObjectInfo(size, etag, parts, crc)

    def _part_sizes(self, bucket: str, key: str, size: int, etag: str) -> list[int] | None:
        count_text = etag.rpartition("-")[2]
        if not count_text.isdigit() or int(count_text) < 1:
            return None
        count = int(count_text)
        if count == 1:
            return [size]
        with self._errors(bucket, key):
            first = self.client.head_object(Bucket=bucket, Key=key, PartNumber=1)
        part = first["ContentLength"]
        last = size - part * (count - 1)
        equal = [part] * (count - 1) + [last] if 0 < last <= part else None
        listed = self._listed_parts(bucket, key, count)
        if listed is not None and sum(listed) == size:
            return listed
        if count > _MANY_PARTS:
            return equal
        with ThreadPoolExecutor(max_workers=8) as pool:
            sizes = list(pool.map(lambda n: self._part_size(bucket, key, n), range(1, count + 1)))
        return sizes if sum(sizes) == size else equal

    def _part_size(self, bucket: str, key: str, number: int) -> int:
        with self._errors(bucket, key):
            return self.client.head_object(Bucket=bucket, Key=key, PartNumber=number)[
                "ContentLength"
            ]

    def _listed_parts(self, bucket: str, key: str, count: int) -> list[int] | None:
        sizes: list[int] = []
        marker = 0
        try:
            while len(sizes) < count:
                page = self.client.get_object_attributes(
                    Bucket=bucket,
                    Key=key,
                    ObjectAttributes=["ObjectParts"],
                    PartNumberMarker=marker,
                ).get("ObjectParts", {})
                rows = page.get("Parts", [])
                if not rows:
                    return None
                sizes += [row["Size"] for row in rows]
                marker = rows[-1]["PartNumber"]
        except (ClientError, BotoCoreError, KeyError):
            return None
        return sizes

    def check_writable(self, bucket: str, prefix: str) -> None:
        """See that the service may write below a prefix, leaving nothing behind: begins an upload and aborts it.

        Raises
        ------
        GatewayError
            S3_BUCKET_NOT_FOUND or S3_BUCKET_INACCESSIBLE.
        S3UnavailableError
        """
        key = f"{prefix}.cts-write-check"
        with self._errors(bucket, None):
            upload = self.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)

    def buckets(self) -> list[str]:
        """Names of the buckets of the service's user; proves that the keys are right."""
        with self._errors("(all buckets)", None):
            return [row["Name"] for row in self.client.list_buckets().get("Buckets", [])]

    def grant_get(self, bucket: str, key: str) -> Grant:
        """Presign a GET of one object."""
        return self._presign("get_object", {"Bucket": bucket, "Key": key}, {})

    def grant_put(self, bucket: str, key: str, md5: str, crc64nvme: str | None) -> Grant:
        """Presign a PUT of exactly those bytes: MD5 and CRC64NVME, base64, are part of the signature."""
        headers = {"Content-MD5": md5}
        parameters: dict[str, Any] = {"Bucket": bucket, "Key": key, "ContentMD5": md5}
        if crc64nvme is not None:
            parameters["ChecksumCRC64NVME"] = crc64nvme
            headers["x-amz-checksum-crc64nvme"] = crc64nvme
        return self._presign("put_object", parameters, headers)

    def start_upload(self, bucket: str, key: str, crc64nvme: bool) -> str:
        """Begin a multipart upload; returns its id."""
        extra: dict[str, Any] = (
            {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if crc64nvme else {}
        )
        with self._errors(bucket, key):
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
        try:
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") not in ("NoSuchUpload", "404"):
                raise S3UnavailableError(
                    f"cannot abort the upload of {bucket}/{key}: {exc}"
                ) from exc
        except BotoCoreError as exc:
            raise S3UnavailableError(f"cannot reach the object store: {exc}") from exc

    def _presign(self, method: str, parameters: dict[str, Any], headers: dict[str, str]) -> Grant:
        url = self.client.generate_presigned_url(
            method, Params=parameters, ExpiresIn=self._config.grant_seconds
        )
        return Grant(url, headers)

    @contextmanager
    def _errors(self, bucket: str, key: str | None) -> Iterator[None]:
        where = bucket if key is None else f"{bucket}/{key}"
        try:
            yield
        except ClientError as exc:
            raise self._explain(exc, bucket, key, where) from exc
        except BotoCoreError as exc:
            raise S3UnavailableError(
                f"The object store {self._config.endpoint_url or 'AWS'} cannot be reached ({type(exc).__name__}); "
                "try again later, and tell the gateway's admins if it lasts."
            ) from exc

    def _explain(self, exc: ClientError, bucket: str, key: str | None, where: str) -> GatewayError:
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = exc.response.get("Error", {}).get("Code", "")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return S3UnavailableError(
                "The gateway's own S3 keys are refused by the object store; tell its admins."
            )
        if code == "NoSuchBucket" or (
            status == 404 and (key is None or not self._bucket_there(bucket))
        ):
            return GatewayError(
                AppCode.S3_BUCKET_NOT_FOUND,
                f"There is no bucket {bucket!r} (of the path {where!r}).",
            )
        if status == 404:
            return GatewayError(
                AppCode.S3_PATH_NOT_FOUND,
                f"There is no object {where!r}; check the key's spelling.",
            )
        if status == 400 and key is not None:
            return _encrypted(bucket, key)
        if status == 403:
            if not self._keys_work():
                return S3UnavailableError(
                    "The gateway's own S3 keys are refused by the object store; tell its admins."
                )
            kind = AppCode.S3_BUCKET_INACCESSIBLE if key is None else AppCode.S3_PATH_INACCESSIBLE
            need = "write to" if key is None else "read"
            return GatewayError(
                kind, f"The gateway may not {need} {where!r}; ask the bucket's owner to grant it."
            )
        return S3UnavailableError(
            f"The object store answered {status} {code} for {where!r}; try again later."
        )

    def _bucket_there(self, bucket: str) -> bool:
        try:
            self.client.head_bucket(Bucket=bucket)
        except ClientError as exc:
            return exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404
        except BotoCoreError:
            return True
        return True

    def _keys_work(self) -> bool:
        try:
            self.client.list_buckets()
        except ClientError as exc:
            return exc.response.get("Error", {}).get("Code") not in (
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
            )
        except BotoCoreError:
            return True
        return True


def _encrypted(bucket: str, key: str) -> GatewayError:
    return GatewayError(
        AppCode.UNSUPPORTED,
        f"{bucket}/{key} is encrypted with a customer's or a KMS key (SSE-C, SSE-KMS): its bytes could not be "
        "verified. Store it with the store's own encryption (SSE-S3) or none.",
    )


def _credentials(config: S3Section) -> tuple[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with config.credentials_file.open(encoding="utf-8") as file:
            parser.read_file(file)
        section = parser[config.profile]
        return section["aws_access_key_id"], section["aws_secret_access_key"]
    except OSError as exc:
        raise ConfigError(
            f"s3.credentials_file: cannot read {config.credentials_file}: {exc.strerror}"
        ) from exc
    except (KeyError, configparser.Error) as exc:
        raise ConfigError(
            f"s3.credentials_file: {config.credentials_file} needs a section [{config.profile}] with "
            "aws_access_key_id and aws_secret_access_key"
        ) from exc
