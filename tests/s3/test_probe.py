"""What `ctsd check` tells of a store, and that it leaves nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.s3.probe import list_buckets, write_and_remove
from gateway.s3.reach import Reach
from tests.s3.places import Answer, Place, scripted, section


def test_a_store_that_does_all_is_told_and_nothing_stays(place: Place) -> None:
    reach = place.store.store("")
    assert list_buckets(reach).endswith("buckets listed")
    for prefix in ("", "/some/prefix"):
        at = f"{place.bucket}{prefix}"
        assert write_and_remove(reach, at) == (
            f"written and removed at {at}: ETags are MD5, the sizes of parts are known"
        )
    assert place.names() == place.uploads() == []


def test_no_version_stays_where_a_bucket_keeps_them(place: Place) -> None:
    on: Any = {"Status": "Enabled"}
    place.client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration=on)
    try:
        write_and_remove(place.store.store(""), place.bucket)
        found = place.client.list_object_versions(Bucket=place.bucket)
        assert "Versions" not in found
        assert "DeleteMarkers" not in found
    finally:
        off: Any = {"Status": "Suspended"}
        place.client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration=off)


def test_a_bucket_that_encrypts_with_kms_is_told(place: Place) -> None:
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "testkey-1"}
    rules: Any = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}
    place.client.put_bucket_encryption(Bucket=place.bucket, ServerSideEncryptionConfiguration=rules)
    try:
        with pytest.raises(GatewayError, match=r"encrypts what is written with a KMS key .*SSE-S3"):
            write_and_remove(place.store.store(""), place.bucket)
        assert place.names() == []
    finally:
        place.client.delete_bucket_encryption(Bucket=place.bucket)


def test_a_bucket_that_is_not_there_is_told(place: Place) -> None:
    with pytest.raises(GatewayError) as caught:
        write_and_remove(place.store.store(""), "no-such-bucket-here")
    assert caught.value.code is AppCode.S3_BUCKET_NOT_FOUND


def _error(code: str, status: int = 403) -> Answer:
    return status, {}, f"<Error><Code>{code}</Code></Error>".encode()


@contextmanager
def _reach(folder: Path, answers: dict[str, Answer]) -> Iterator[Reach]:
    with scripted(lambda method, path: answers.get(method, (200, {}, b""))) as endpoint:
        yield Reach(section(endpoint, folder), "cold", read_timeout=2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "AccessDenied",
            r"may not list buckets, .* Allow that \(s3:ListAllMyBuckets\) to the user",
        ),
        ("InvalidAccessKeyId", r"keys are refused .*s3\.stores\.cold\.credentials_file, profile"),
        ("RequestTimeTooSkewed", r"clock differs too much"),
    ],
)
def test_keys_that_do_not_list_buckets_are_told(tmp_path: Path, code: str, said: str) -> None:
    with _reach(tmp_path, {"GET": _error(code)}) as reach, pytest.raises(GatewayError, match=said):
        list_buckets(reach)


def test_an_address_where_nobody_is_or_that_speaks_no_tls_is_told(
    tmp_path: Path, moto: str
) -> None:
    nobody = Reach(section("http://127.0.0.1:1", tmp_path), "cold", connect_timeout=0.1)
    with pytest.raises(GatewayError, match=r"The address is s3\.stores\.cold\.endpoint_url\."):
        list_buckets(nobody)
    plain = Reach(section(moto.replace("http:", "https:"), tmp_path), connect_timeout=1)
    with pytest.raises(GatewayError, match=r"no TLS .*Name the CA, PEM, in s3\.ca_file\."):
        list_buckets(plain)


def test_an_etag_that_is_no_md5_is_told_and_the_object_removed(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(method: str, path: str) -> Answer:
        asked.append(method)
        return (204 if method == "DELETE" else 200), {"ETag": f'"{"0" * 32}"'}, b""

    with scripted(answer) as endpoint:
        reach = Reach(section(endpoint, tmp_path))
        with pytest.raises(
            GatewayError, match=r"which is not its MD5: what jobs write there could"
        ):
            write_and_remove(reach, "bucket/x")
    assert asked == ["PUT", "HEAD", "DELETE"]


def test_an_object_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    answers = {"DELETE": _error("AccessDenied"), "HEAD": (200, {"ETag": '"x"'}, b"")}
    with _reach(tmp_path, answers) as reach, pytest.raises(GatewayError) as caught:
        write_and_remove(reach, "bucket/x")
    said = caught.value.message
    assert "bucket/x/.cts-check-" in said
    assert "is left, for it cannot be removed" in said
    assert "or leave s3.stores.cold.check_prefix out" in said
