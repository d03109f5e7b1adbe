"""What only a real store does: keys that are refused, other people's buckets, grants that are held to, encryption."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from gateway.agent.crc import CRC32, CRC64NVME, Crc
from gateway.errors import AppCode, GatewayError
from gateway.s3.client import Checksum, Grant, ObjectStore, S3UnavailableError
from tests.s3.places import Place, bucket_at, section
from tests.s3.test_store import Refused, md5, refusal, send

pytestmark = pytest.mark.cluster
Rgw = tuple[str, dict[str, tuple[str, str]]]


@pytest.fixture
def mine(rgw: Rgw, tmp_path: Path):  # type: ignore[no-untyped-def]
    with bucket_at(rgw[0], tmp_path, *rgw[1]["cts"]) as made:
        yield made


def test_another_users_object_and_bucket_are_refused(mine: Place) -> None:
    for key in ("secret.txt", "none"):
        code, message = refusal(lambda key=key: mine.store.inspect("private-data", key))  # type: ignore[misc]
        assert code is AppCode.S3_PATH_INACCESSIBLE
        assert f"may not read 'private-data/{key}'" in message
    code, message = refusal(lambda: mine.store.check_writable("private-data", "x/"))
    assert code is AppCode.S3_BUCKET_INACCESSIBLE
    assert "may not write to 'private-data'" in message
    code, message = refusal(lambda: mine.store.start_upload("private-data", "x", None))
    assert code is AppCode.S3_PATH_INACCESSIBLE
    assert "may not write to 'private-data/x'" in message


@pytest.mark.parametrize(
    ("key", "secret", "said"),
    [(None, "wrong", "SignatureDoesNotMatch"), ("WRONG", None, "InvalidAccessKeyId")],
)
def test_keys_that_the_store_does_not_know_are_the_gateways_own_trouble(
    rgw: Rgw, tmp_path: Path, key: str | None, secret: str | None, said: str
) -> None:
    good = rgw[1]["cts"]
    store = ObjectStore(section(rgw[0], tmp_path, key or good[0], secret or good[1]))
    for act in (
        lambda: store.inspect("sample-data", "reads/sample-2.txt"),
        lambda: store.check_writable("results", "x/"),
        store.store("").buckets,
    ):
        with pytest.raises(S3UnavailableError, match=rf"own S3 keys are refused .*{said}"):
            act()


def test_a_grant_is_good_for_the_announced_bytes_alone(mine: Place) -> None:
    grant = mine.store.grant_put(mine.bucket, "held", md5(b"good"), None)
    with pytest.raises(Refused, match=r"40[03]"):
        send("PUT", grant, b"evil")
    with pytest.raises(Refused, match="403"):
        send("PUT", Grant(grant.url, {"Content-MD5": md5(b"evil")}), b"evil")
    assert mine.names() == []
    assert send("PUT", grant, b"good")[1] == hashlib.md5(b"good").hexdigest()


@pytest.mark.parametrize("kind", [CRC64NVME, CRC32], ids=lambda kind: kind.name)
def test_a_grant_with_a_crc_is_good_for_those_bytes_alone(mine: Place, kind: Crc) -> None:
    value = kind.encode(kind.of(b"good", 0))
    grant = mine.store.grant_put(mine.bucket, "held", None, Checksum(kind.name, value))  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"40[03]"):
        send("PUT", grant, b"evil")
    other = {**grant.headers, kind.header: kind.encode(kind.of(b"evil", 0))}
    with pytest.raises(Refused, match="403"):
        send("PUT", Grant(grant.url, other), b"evil")
    assert mine.names() == []
    assert send("PUT", grant, b"good")[1] == hashlib.md5(b"good").hexdigest()
    info = mine.store.inspect(mine.bucket, "held")
    assert value in (info.crc64nvme, info.crc32)


@pytest.mark.parametrize("kind", [CRC64NVME, CRC32], ids=lambda kind: kind.name)
def test_rgw_says_the_crc_of_a_part_that_came_without_one(mine: Place, kind: Crc) -> None:
    upload = mine.store.start_upload(mine.bucket, "held", kind.name)  # type: ignore[arg-type]
    grant = mine.store.grant_part(mine.bucket, "held", upload, 1, None)
    assert grant.headers == {}
    answer = httpx.put(grant.url, content=b"part")
    assert answer.headers[kind.header] == kind.encode(kind.of(b"part", 0))
    mine.store.abort_upload(mine.bucket, "held", upload)


def test_a_grant_of_one_object_opens_no_other(mine: Place) -> None:
    mine.put("one", b"1")
    mine.put("two", b"2")
    grant = mine.store.grant_get(mine.bucket, "one")
    assert send("GET", grant)[0] == b"1"
    with pytest.raises(Refused, match="403"):
        send("GET", Grant(grant.url.replace("/one?", "/two?"), {}))


def test_an_object_with_a_customers_key_is_refused(mine: Place) -> None:
    mine.put("locked", b"x", SSECustomerAlgorithm="AES256", SSECustomerKey="0" * 32)
    code, message = refusal(lambda: mine.store.inspect(mine.bucket, "locked"))
    assert code is AppCode.UNSUPPORTED
    assert "SSE-C" in message


def test_an_object_with_a_kms_key_is_refused(mine: Place) -> None:
    from devclusterlib.storage import KMS_KEY

    mine.put("kms", b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=KMS_KEY)
    code, message = refusal(lambda: mine.store.inspect(mine.bucket, "kms"))
    assert code is AppCode.UNSUPPORTED
    assert "SSE-KMS" in message


def test_a_key_that_is_too_long_is_not_taken_for_an_encrypted_object(mine: Place) -> None:
    with pytest.raises(GatewayError) as caught:
        mine.store.inspect(mine.bucket, "k" * 1025)
    assert caught.value.code is not AppCode.UNSUPPORTED
