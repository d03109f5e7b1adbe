"""The sizes of an object's parts: with them, its ETag proves its bytes (MD5 of the parts' MD5s).

S3 does not keep them in one place. GetObjectAttributes lists them where it can (AWS only with checksums); a HEAD of one part tells
its size; where both fail, they are not known: a guess would fail a good download, or a CRC would have served better.
"""

from __future__ import annotations

import re
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from gateway.errors import GatewayError
from gateway.s3.errors import Teller

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_PARTS = 10_000  # of S3 itself
MOST_BYTES = 5 << 40  # of an object, of S3 itself
_STEP = 1 << 20
_ASKED = 1_000  # parts that are asked for one by one
_MULTIPART = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})", re.ASCII)


def part_size_for(size: int, usual: int) -> int:
    """Return how many bytes each part of an output of `size` bytes has, but the last.

    The usual; for one that would have over 10,000 of those, the least whole MiB with which it has not. Nodes reckon the same
    (gateway/agent/parts.py): they hash the parts before they ask.
    """
    least = -(-size // MOST_PARTS)
    return usual if least <= usual else -(-least // _STEP) * _STEP


def part_count(etag: str) -> int | None:
    """Read the number of parts from a multipart ETag, `MD5-N`; None where it is another."""
    match = _MULTIPART.fullmatch(etag)
    count = int(match[1]) if match is not None else 0
    return count if 0 < count <= MOST_PARTS else None


def part_sizes(
    client: S3Client, teller: Teller, pool: Executor, bucket: str, key: str, size: int, count: int
) -> list[int] | None:
    """Learn the sizes, in bytes, of the `count` parts of an object of `size` bytes; None where they cannot be known.

    Raises
    ------
    GatewayError
        When the object is gone meanwhile, or the store does not answer.
    """
    if count == 1:
        return [size]
    listed = _listed(client, bucket, key, count)
    if listed is not None and sum(listed) == size:
        return listed

    def ask(number: int) -> int | None:
        return _one(client, teller, bucket, key, number, count)

    first = ask(1)
    if first is None:  # a store that does not answer for parts
        return None
    sizes: list[int | None]
    if count <= _ASKED:
        sizes = [first, *pool.map(ask, range(2, count + 1))]
    else:
        # Too many to ask for each. Uploads cut them equal but for the last: where those asked for say so, they are.
        equal = [first] * (count - 1) + [size - first * (count - 1)]
        some = sorted({2, count // 3, count // 2, count - 1, count})
        if list(pool.map(ask, some)) != [equal[number - 1] for number in some]:
            return None
        sizes = list(equal)
    known = [each for each in sizes if each is not None]
    return known if len(known) == count and sum(known) == size and min(known) >= 0 else None


def _listed(client: S3Client, bucket: str, key: str, count: int) -> list[int] | None:
    """Ask GetObjectAttributes; None where the store does not know it, may not be asked, or lists no parts."""
    sizes: list[int] = []
    marker = 0
    try:
        while len(sizes) < count:
            page = client.get_object_attributes(
                Bucket=bucket, Key=key, ObjectAttributes=["ObjectParts"], PartNumberMarker=marker
            ).get("ObjectParts", {})
            rows = page.get("Parts", [])
            if not rows or rows[-1]["PartNumber"] <= marker:
                return None
            sizes += [row["Size"] for row in rows]
            marker = rows[-1]["PartNumber"]
    # It is one of two ways: what is really wrong, the other will tell.
    except (ClientError, BotoCoreError, KeyError, ValueError, TypeError, OSError):
        return None
    return sizes if len(sizes) == count else None


def _one(
    client: S3Client, teller: Teller, bucket: str, key: str, number: int, count: int
) -> int | None:
    try:
        with teller.told(bucket, key):
            head = client.head_object(Bucket=bucket, Key=key, PartNumber=number)
            if head.get("PartsCount", count) != count:
                return None
            return head["ContentLength"]
    except GatewayError as exc:
        if isinstance(exc.__cause__, ClientError) and _status(exc.__cause__) in (400, 416, 501):
            return None
        raise


def _status(exc: ClientError) -> int:
    return exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
