"""Logs of containers in the object store: written in bounded memory, read in ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from gateway.errors import AppCode, GatewayError
from gateway.s3.client import ObjectStore
from gateway.s3.reach import content_md5

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_TEXT = "text/plain"
PART = 8 << 20  # bytes that are held of one log; S3 takes parts from 5 MiB on


class LogArea:
    """Where logs are kept in a store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def put(self, bucket: str, key: str, pieces: Iterable[bytes]) -> int:
        """Write an object from pieces, a part in memory at a time; returns its size in bytes.

        Raises
        ------
        GatewayError
            S3_BUCKET_NOT_FOUND, S3_BUCKET_INACCESSIBLE.
        S3UnavailableError
        """
        parts = _parts(pieces)
        first = next(parts, b"")
        second = next(parts, None)
        at = self._objects.at(bucket)
        client = at.client
        with at.told(bucket, key, writing=True):
            if second is None:
                client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=first,
                    ContentMD5=content_md5(first),
                    ContentType=_TEXT,
                )
                return len(first)
            upload = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=_TEXT)[
                "UploadId"
            ]
        try:
            return self._rest(bucket, key, upload, [first, second], parts)
        except BaseException:
            self._objects.abort_upload(bucket, key, upload)
            raise

    def _rest(
        self, bucket: str, key: str, upload: str, begun: list[bytes], parts: Iterator[bytes]
    ) -> int:
        at = self._objects.at(bucket)
        total = 0
        done: list[CompletedPartTypeDef] = []
        for data in chain(begun, parts):
            number = len(done) + 1
            with at.told(bucket, key, writing=True):
                done.append(at.put_part(bucket, key, upload, number, data))
            total += len(data)
        with at.told(bucket, key, writing=True):
            at.client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done}
            )
        return total

    def read(
        self, bucket: str, key: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        """Read at most `length` bytes from `seek` on; returns them and the size of the whole, None for no such object.

        Raises
        ------
        GatewayError
            S3_PATH_INACCESSIBLE and the like.
        S3UnavailableError
        """
        at = self._objects.at(bucket)
        client = at.client
        try:
            with at.told(bucket, key):
                size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            end = size if length is None else min(size, seek + length)
            if seek >= end:
                return b"", size
            with at.told(bucket, key):
                span = f"bytes={seek}-{end - 1}"
                data = client.get_object(Bucket=bucket, Key=key, Range=span)["Body"].read()
        except GatewayError as exc:
            if exc.code in (AppCode.S3_PATH_NOT_FOUND, AppCode.S3_BUCKET_NOT_FOUND):
                return None
            raise
        return data, size


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces to parts of `PART` bytes, the last one smaller."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= PART:
            yield bytes(held[:PART])
            del held[:PART]
    if held:
        yield bytes(held)
