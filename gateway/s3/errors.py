"""What an error of the object store means: whose it is, and what would be right.

S3 answers a HEAD without a body, so without a code; where that leaves it open what is wrong, a second question is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from gateway.errors import AppCode, GatewayError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The S3 reference, "Error responses"; those of the caller's own keys and clock.
_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
# What AWS, RGW and MinIO answer to a GET of an object with a customer's key by somebody without it.
_ENCRYPTED = {"InvalidRequest", "InvalidArgument"}
_CAUSES = (
    (SSLError, "its certificate is not trusted, or it speaks no TLS"),
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "no answer in time"),
    (EndpointConnectionError, "no connection"),
    (ConnectionClosedError, "it closed the connection"),
    (HTTPClientError, "the connection broke"),
)
# Anything else that an odd answer makes of botocore: a header that is missing or no number, XML that is none.
_ODD = (ResponseParserError, HTTPError, OSError, ValueError, KeyError, TypeError)


class S3UnavailableError(GatewayError):
    """The object store cannot be reached or has trouble of its own; trying again later may help."""

    def __init__(self, message: str) -> None:
        super().__init__(AppCode.RESOURCE_UNAVAILABLE, message)


class Teller:
    """Turns the errors of a client of the store into the gateway's."""

    def __init__(self, client: S3Client, endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint

    @contextmanager
    def told(self, bucket: str, key: str | None, *, writing: bool = False) -> Iterator[None]:
        """Raise a GatewayError for whatever a call about that object (or bucket) raises.

        Only calls of the client and the reading of their answers belong into the body.
        """
        try:
            yield
        except ClientError as exc:
            raise self._explain(exc, bucket, key, writing) from exc
        except ParamValidationError as exc:
            raise GatewayError(
                AppCode.ILLEGAL_S3_PATH,
                f"The object store's client refuses {_where(bucket, key)!r}: {_flat(exc)}",
            ) from exc
        except BotoCoreError as exc:
            cause = next((text for kind, text in _CAUSES if isinstance(exc, kind)), _flat(exc))
            raise self.unavailable(f"cannot be reached ({cause})") from exc
        except _ODD as exc:
            raise self.unavailable(
                f"gave an answer for {_where(bucket, key)!r} that is none ({type(exc).__name__}: {_flat(exc)})"
            ) from exc

    def unavailable(self, what: str) -> S3UnavailableError:
        """Make the error of a store that cannot serve now."""
        return S3UnavailableError(
            f"The object store {self._endpoint} {what}; try again later, and tell the gateway's admins if it lasts."
        )

    def _explain(
        self, exc: ClientError, bucket: str, key: str | None, writing: bool
    ) -> GatewayError:
        where = _where(bucket, key)
        status, code = _answer(exc)
        if status == 400 and key is not None and not writing:
            code = self._code_of_get(bucket, key) or code
            if code in _ENCRYPTED:
                return encrypted(bucket, key)
        if status == 403 and code not in _KEYS | _CLOCK:
            code = self._own_trouble() or code
        if code in _KEYS:
            return S3UnavailableError(
                f"The gateway's own S3 keys are refused by the object store ({code}); tell its admins."
            )
        if code in _CLOCK:
            return S3UnavailableError(
                f"The gateway's clock differs too much from the object store's ({code}); tell its admins."
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
        if status == 403:
            kind = AppCode.S3_BUCKET_INACCESSIBLE if key is None else AppCode.S3_PATH_INACCESSIBLE
            if code == "QuotaExceeded":
                return GatewayError(
                    kind, f"The quota of the bucket {bucket!r} is used up; make room in it."
                )
            need = "write to" if key is None or writing else "read"
            return GatewayError(
                kind, f"The gateway may not {need} {where!r}; ask the bucket's owner to grant it."
            )
        return self.unavailable(f"answered {status} {code} for {where!r}")

    def _code_of_get(self, bucket: str, key: str) -> str | None:
        """Ask for the object's first byte: the refusal of a GET has a code."""
        try:
            self._client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except ClientError as exc:
            return _answer(exc)[1]
        except (BotoCoreError, *_ODD):
            return None
        return None

    def _bucket_there(self, bucket: str) -> bool:
        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError as exc:
            return _answer(exc)[0] != 404
        except (BotoCoreError, *_ODD):
            return True
        return True

    def _own_trouble(self) -> str | None:
        """Tell what is wrong with the gateway's own keys or clock; None when it is not that."""
        try:
            self._client.list_buckets()
        except ClientError as exc:
            code = _answer(exc)[1]
            return code if code in _KEYS | _CLOCK else None
        except (BotoCoreError, *_ODD):
            return None
        return None


def encrypted(bucket: str, key: str) -> GatewayError:
    """Make the error of an object whose ETag says nothing of its bytes."""
    return GatewayError(
        AppCode.UNSUPPORTED,
        f"{bucket}/{key} is encrypted with a customer's or a KMS key (SSE-C, SSE-KMS): its bytes could not be "
        "verified. Store it with the store's own encryption (SSE-S3) or none.",
    )


def _answer(exc: ClientError) -> tuple[int, str]:
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, str(exc.response.get("Error", {}).get("Code") or "")


def _where(bucket: str, key: str | None) -> str:
    return bucket if key is None else f"{bucket}/{key}"


def _flat(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]
