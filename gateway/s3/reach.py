"""One object store: the client of botocore that has its keys, its certificates and its address.

Whatever a call of the client raises goes through `Reach.told`.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import urllib3
from botocore.config import Config as BotoConfig

from gateway.config import StoreSection, store_key
from gateway.errors import ConfigError
from gateway.s3.errors import Teller

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

THREADS = 32  # of each user of a store; it keeps twice as many connections


class Reach:
    """How one store is reached, with the service's own keys. Buckets may have its name before them, as users write it.

    Raises
    ------
    ConfigError
        When the credentials file cannot be read or has no such profile, or an address is none.
    """

    def __init__(
        self,
        config: StoreSection,
        name: str = "",
        *,
        connect_timeout: float = 5,
        read_timeout: float = 30,
    ) -> None:
        section = self.section = store_key(name)
        keys = _credentials(config, section)
        options = BotoConfig(
            signature_version="s3v4",
            s3={"addressing_style": config.addressing},
            max_pool_connections=THREADS * 2,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "max_attempts": 3},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        if config.ca_file is not None and not config.ca_file.is_file():
            raise ConfigError(f"{section}.ca_file: there is no file {config.ca_file}")
        if config.insecure:  # that of the configuration is one at each start, and says more
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
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
            raise ConfigError(f"{section}.endpoint_url or {section}.region: {exc}") from exc
        events: Any = self.client.meta.events
        events.register_first("provide-client-params.s3", _without_store)
        self.teller = Teller(self.client, config.endpoint_url or "AWS")

    def told(
        self, bucket: str, key: str | None, *, writing: bool = False
    ) -> AbstractContextManager[None]:
        """Have what a call of `client` about that object (or bucket) raises told as a GatewayError."""
        return self.teller.told(bucket, key, writing=writing)

    def put_part(
        self, bucket: str, key: str, upload: str, number: int, data: bytes
    ) -> CompletedPartTypeDef:
        """Send a part of a multipart upload with its MD5; returns it as the completion wants it."""
        answer = self.client.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=data,
            ContentMD5=content_md5(data),
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def buckets(self) -> list[str]:
        """Names of the buckets of the service's user; proves that the keys are right."""
        with self.told("(all buckets)", None):
            return [row["Name"] for row in self.client.list_buckets().get("Buckets", [])]


def content_md5(data: bytes) -> str:
    """Return an MD5 as the header Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _without_store(params: dict[str, Any], **_: object) -> dict[str, Any]:
    """Leave the store's name, `NAME:bucket`, out of what a store is asked: it knows the bucket alone."""
    if "Bucket" in params:
        params = params | {"Bucket": params["Bucket"].rpartition(":")[2]}
    return params


@dataclass(frozen=True)
class _Keys:
    key: str
    secret: str
    token: str | None


def _credentials(config: StoreSection, where: str) -> _Keys:
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
            f"{where}.credentials_file: cannot read {config.credentials_file}: {exc.strerror}"
        ) from exc
    except (KeyError, configparser.Error, UnicodeDecodeError):
        key = secret = token = None
    if not key or not secret:
        # What the parser says is not passed on: it quotes the line, which may be a secret.
        raise ConfigError(
            f"{where}.credentials_file: {config.credentials_file} needs a section [{config.profile}] with "
            "aws_access_key_id and aws_secret_access_key"
        )
    return _Keys(key, secret, token or None)
