"""What the gateway learns of objects, and what a node can do with its grants: at moto and at Ceph RGW."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from awscrt import checksums

from gateway.errors import AppCode, GatewayError
from gateway.s3.client import Checksum, Grant
from gateway.s3.paths import parse_object
from tests.s3.places import MIB, Place

KEYS = [
    "plain.txt",
    "deep/er/still.txt",
    "with space and  two",
    "a+b=c&d?e#f%20g%",
    "üñï ☃ 𝄞/한국어.txt",
    '"quoted" $(touch x) `id` *[a-z]{1,2}.txt',
    "~!@^()_-,:|\\<>.",
    "trailing.",
    "..double..dots..",
    "k" * 1024,
    "ü" * 512,
    "d/" * 511 + "kk",
]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def crc64(data: bytes) -> str:
    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


class Refused(Exception):
    """The store's answer to a grant's request: its status."""


def send(method: str, grant: Grant, data: bytes | None = None) -> tuple[bytes, str]:
    """Do what a node does: send a grant's request and no header beside; return body and ETag.

    urllib would add a Content-Type to a body, which RGW takes for a breach of the signature.
    """
    parts = urlsplit(grant.url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", data, grant.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused(answer.status)
    return body, (answer.headers["ETag"] or "").strip('"')


def refusal(act: Callable[[], object]) -> tuple[AppCode, str]:
    with pytest.raises(GatewayError) as caught:
        act()
    return caught.value.code, caught.value.message


class TestInspecting:
    def test_a_plain_object_has_the_md5_as_its_etag_and_no_parts(self, place: Place) -> None:
        place.put("plain", b"hello")
        info = place.store.inspect(place.bucket, "plain")
        assert (info.size, info.etag) == (5, hashlib.md5(b"hello").hexdigest())
        assert (info.part_sizes, info.crc64nvme, info.etag_is_md5) == (None, None, True)

    def test_an_empty_object_is_one_like_others(self, place: Place) -> None:
        place.put("empty", b"")
        info = place.store.inspect(place.bucket, "empty")
        assert (info.size, info.etag) == (0, hashlib.md5(b"").hexdigest())

    @pytest.mark.parametrize(
        "sizes",
        [
            [7],
            [5 * MIB, 3],
            [5 * MIB, 5 * MIB],
            [5 * MIB, 6 * MIB, 10],
            [6 * MIB, 5 * MIB, 7 * MIB],
        ],
    )
    def test_the_sizes_of_parts_are_known_equal_or_not(
        self, place: Place, sizes: list[int]
    ) -> None:
        place.put_parts("parts", sizes)
        info = place.store.inspect(place.bucket, "parts")
        assert info.part_sizes == sizes
        assert info.etag.endswith(f"-{len(sizes)}")
        hashed = [hashlib.md5(bytes([n]) * size).digest() for n, size in enumerate(sizes, 1)]
        assert info.etag.partition("-")[0] == hashlib.md5(b"".join(hashed)).hexdigest()

    def test_a_crc_of_the_whole_object_is_read(self, place: Place) -> None:
        place.put("crc", b"hello", ChecksumAlgorithm="CRC64NVME")
        assert place.store.inspect(place.bucket, "crc").crc64nvme == crc64(b"hello")
        place.put_parts(
            "crc-parts", [5 * MIB, 3], ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )
        info = place.store.inspect(place.bucket, "crc-parts")
        assert info.crc64nvme == crc64(b"\x01" * 5 * MIB + b"\x02" * 3)
        assert info.part_sizes == [5 * MIB, 3]

    def test_a_crc_of_another_kind_is_none(self, place: Place) -> None:
        place.put_parts("crc32", [5 * MIB, 3], ChecksumAlgorithm="CRC32")
        info = place.store.inspect(place.bucket, "crc32")
        assert (info.crc64nvme, info.part_sizes) == (None, [5 * MIB, 3])

    def test_many_are_looked_at_in_the_order_given(self, place: Place) -> None:
        for n in range(15):
            place.put(f"many/{n}", b"x" * n)
        pairs = [(place.bucket, f"many/{n}") for n in range(15)]
        assert [info.size for info in place.store.inspect_all(pairs)] == list(range(15))
        code, message = refusal(lambda: place.store.inspect_all([*pairs, (place.bucket, "none")]))
        assert code is AppCode.S3_PATH_NOT_FOUND
        assert f"{place.bucket}/none" in message

    def test_what_is_below_a_prefix_is_listed_by_key(self, place: Place) -> None:
        keys = ["l/B", "l/a", "l/a b+c%20", "l/d/", "l/d/x", "l/ä", "l/𝄞"]
        for key in ["l", "la", *keys]:
            place.put(key, b"" if key.endswith("/") else b"x")
        assert place.store.listed(place.bucket, "l/", 10) == [(key, int(not key.endswith("/"))) for key in keys]  # fmt: skip
        assert place.store.listed(place.bucket, "none/", 10) == []
        code, _ = refusal(lambda: place.store.listed("no-such-bucket-at-all", "x/", 10))
        assert code is AppCode.S3_BUCKET_NOT_FOUND

    def test_a_long_list_is_read_page_by_page_and_not_far_past_what_is_wanted(
        self, place: Place
    ) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: place.put(f"p/{n:04}", b""), range(1100)))
        assert len(place.store.listed(place.bucket, "p/", 2000)) == 1100
        assert len(place.store.listed(place.bucket, "p/", 999)) == 1000
        for start in (0, 1000):
            some = [{"Key": f"p/{n:04}"} for n in range(start, min(start + 1000, 1100))]
            place.client.delete_objects(Bucket=place.bucket, Delete={"Objects": some})  # type: ignore[typeddict-item]

    def test_no_such_key_and_no_such_bucket_are_told_apart(self, place: Place) -> None:
        code, message = refusal(lambda: place.store.inspect(place.bucket, "none"))
        assert code is AppCode.S3_PATH_NOT_FOUND
        assert f"{place.bucket}/none" in message
        code, message = refusal(lambda: place.store.inspect("no-such-bucket-here", "none"))
        assert code is AppCode.S3_BUCKET_NOT_FOUND
        assert "no-such-bucket-here" in message

    def test_the_buckets_are_listed(self, place: Place) -> None:
        assert place.bucket in place.store.store("").buckets()


class TestWriting:
    @pytest.mark.parametrize("prefix", ["", "out/", "ü /"])
    def test_the_check_leaves_nothing_behind(self, place: Place, prefix: str) -> None:
        before = place.names()
        place.store.check_writable(place.bucket, prefix)
        assert place.names() == before
        assert place.uploads() == []

    def test_what_went_well_a_moment_ago_is_not_tried_again_beside_it(self, place: Place) -> None:
        calls: list[str] = []
        events = place.store.store("").client.meta.events
        events.register("before-call.s3", lambda model, **_: calls.append(model.name))
        for prefix in ("a/one/", "a/two/", "b/one/"):
            place.store.check_writable(place.bucket, prefix)
        assert calls == ["CreateMultipartUpload", "AbortMultipartUpload"] * 2

    def test_a_bucket_that_is_not_there_is_told(self, place: Place) -> None:
        code, _ = refusal(lambda: place.store.check_writable("no-such-bucket-here", "x/"))
        assert code is AppCode.S3_BUCKET_NOT_FOUND

    def test_a_prefix_that_leaves_no_room_for_names_is_told(self, place: Place) -> None:
        code, message = refusal(lambda: place.store.check_writable(place.bucket, "p" * 1023 + "/"))
        assert code is AppCode.ILLEGAL_S3_PATH
        assert "use a shorter one" in message

    def test_an_upload_that_is_gone_is_aborted_without_an_error(self, place: Place) -> None:
        upload = place.store.start_upload(place.bucket, "gone", None)
        place.store.abort_upload(place.bucket, "gone", upload)
        place.store.abort_upload(place.bucket, "gone", upload)
        place.store.abort_upload("no-such-bucket-here", "gone", upload)
        assert place.uploads() == []

    def test_an_upload_is_open_until_it_is_aborted(self, place: Place) -> None:
        upload = place.store.start_upload(place.bucket, "open", None)
        assert place.store.upload_open(place.bucket, "open", upload)
        assert place.store.parts_there(place.bucket, "open", upload) == []
        place.store.abort_upload(place.bucket, "open", upload)
        assert not place.store.upload_open(place.bucket, "open", upload)
        assert place.store.parts_there(place.bucket, "open", upload) is None


class TestGrants:
    @pytest.mark.parametrize("key", KEYS)
    def test_an_object_of_any_name_is_put_and_got(self, place: Place, key: str) -> None:
        assert parse_object(f"{place.bucket}/{key}").key == key
        data = f"content of {key}".encode()
        grant = place.store.grant_put(
            place.bucket, key, md5(data), Checksum("CRC64NVME", crc64(data))
        )
        assert send("PUT", grant, data)[1] == hashlib.md5(data).hexdigest()
        assert place.get(key) == data
        got = place.store.grant_get(place.bucket, key)
        assert send("GET", got)[0] == data
        with urlopen(got.url, timeout=30) as answer:
            assert answer.read() == data
        info = place.store.inspect(place.bucket, key)
        assert (info.size, info.crc64nvme) == (len(data), crc64(data))

    @pytest.mark.parametrize("key", ["parts/plain", KEYS[3], KEYS[4], KEYS[10]])
    def test_an_object_of_any_name_is_put_in_parts(self, place: Place, key: str) -> None:
        pieces = [b"\x07" * 5 * MIB, b"rest"]
        upload = place.store.start_upload(place.bucket, key, "CRC64NVME")
        etags = []
        for number, piece in enumerate(pieces, 1):
            grant = place.store.grant_part(place.bucket, key, upload, number, md5(piece))
            etags.append(send("PUT", grant, piece)[1])
        listed = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
            for n, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer, _ = send("POST", place.store.grant_complete(place.bucket, key, upload), body)
        assert b"<Error>" not in answer
        assert not place.store.upload_open(place.bucket, key, upload)
        assert place.store.inspect(place.bucket, key).part_sizes == [5 * MIB, 4]
        assert place.get(key) == b"".join(pieces)

    def test_a_grant_holds_no_secret(self, place: Place) -> None:
        grant = place.store.grant_get(place.bucket, "x")
        assert "secret" not in grant.url
        assert place.bucket in grant.url
        assert "X-Amz-Expires=3600" in grant.url
