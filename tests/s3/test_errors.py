"""Whatever an object store answers, or does not, becomes one clear error; none escapes as a bug of the gateway."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import AppCode, ConfigError, GatewayError
from gateway.s3.client import ObjectInfo, ObjectStore, S3UnavailableError
from tests.s3.places import Answer, blunt, scripted, section, xml

OK: Answer = (200, {}, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>")
MD5 = "5d41402abc4b2a76b9719d911017c592"
BARE: Answer = (404, {}, b"")


def head(headers: dict[str, str]) -> Answer:
    return 200, {"ETag": f'"{MD5}"', "Content-Length": "5"} | headers, b"hello"


def store_at(endpoint: str, folder: Path) -> ObjectStore:
    return ObjectStore(section(endpoint, folder), connect_timeout=1, read_timeout=1)


def refusal(act: Callable[[], object]) -> tuple[AppCode, str]:
    with pytest.raises(GatewayError) as caught:
        act()
    return caught.value.code, caught.value.message


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore try again at once."""
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0
    )


class Told:
    """A store that answers by a table: (method, what the path begins with) → answer."""

    def __init__(self, **table: Answer) -> None:
        self.table = table
        self.asked: list[str] = []

    def __call__(self, method: str, path: str) -> Answer:
        self.asked.append(f"{method} {path}")
        kind = "buckets" if path == "/" else "object" if "/key" in path else "bucket"
        return self.table.get(f"{method}_{kind}", self.table.get(kind, OK))


@pytest.mark.parametrize(
    ("table", "code", "said"),
    [
        ({"object": BARE, "bucket": OK}, AppCode.S3_PATH_NOT_FOUND, "no object 'bucket/key'"),
        ({"object": BARE, "bucket": BARE}, AppCode.S3_BUCKET_NOT_FOUND, "no bucket 'bucket'"),
        ({"object": BARE, "bucket": (403, {}, b"")}, AppCode.S3_PATH_NOT_FOUND, "no object"),
        ({"object": BARE, "bucket": (500, {}, b"")}, AppCode.S3_PATH_NOT_FOUND, "no object"),
        (
            {"object": (403, {}, b""), "buckets": OK},
            AppCode.S3_PATH_INACCESSIBLE,
            "may not read 'bucket/key'",
        ),
        (
            {"object": (403, {}, b""), "buckets": (403, {}, xml("AccessDenied"))},
            AppCode.S3_PATH_INACCESSIBLE,
            "may not read 'bucket/key'",
        ),
        (
            {"object": (403, {}, b""), "buckets": (403, {}, xml("InvalidAccessKeyId"))},
            AppCode.RESOURCE_UNAVAILABLE,
            "own S3 keys are refused by the object store (InvalidAccessKeyId)",
        ),
        (
            {"object": (403, {}, b""), "buckets": (403, {}, xml("SignatureDoesNotMatch"))},
            AppCode.RESOURCE_UNAVAILABLE,
            "own S3 keys are refused by the object store (SignatureDoesNotMatch)",
        ),
        (
            {"object": (403, {}, b""), "buckets": (400, {}, xml("ExpiredToken"))},
            AppCode.RESOURCE_UNAVAILABLE,
            "(ExpiredToken)",
        ),
        (
            {"object": (403, {}, b""), "buckets": (403, {}, xml("RequestTimeTooSkewed"))},
            AppCode.RESOURCE_UNAVAILABLE,
            "clock differs too much",
        ),
        (
            {"HEAD_object": (400, {}, b""), "GET_object": (400, {}, xml("InvalidRequest"))},
            AppCode.UNSUPPORTED,
            "SSE-C",
        ),
        (
            {"HEAD_object": (400, {}, b""), "GET_object": (400, {}, xml("InvalidArgument"))},
            AppCode.UNSUPPORTED,
            "SSE-C",
        ),
        (
            {
                "HEAD_object": (400, {}, b""),
                "GET_object": (400, {}, xml("AuthorizationHeaderMalformed")),
            },
            AppCode.RESOURCE_UNAVAILABLE,
            "answered 400 AuthorizationHeaderMalformed",
        ),
        (
            {"HEAD_object": (400, {}, b""), "GET_object": (400, {}, xml("ExpiredToken"))},
            AppCode.RESOURCE_UNAVAILABLE,
            "own S3 keys are refused by the object store (ExpiredToken)",
        ),
        ({"HEAD_object": (400, {}, b"")}, AppCode.RESOURCE_UNAVAILABLE, "answered 400"),
        ({"object": (503, {}, xml("SlowDown"))}, AppCode.RESOURCE_UNAVAILABLE, "answered 503"),
        ({"object": (500, {}, b"")}, AppCode.RESOURCE_UNAVAILABLE, "answered 500"),
        ({"object": (418, {}, b"tea")}, AppCode.RESOURCE_UNAVAILABLE, "answered 418"),
        ({"object": (301, {}, b"")}, AppCode.RESOURCE_UNAVAILABLE, "answered 301"),
    ],
)
def test_each_answer_to_a_look_has_its_own_error(
    tmp_path: Path, table: dict[str, Answer], code: AppCode, said: str
) -> None:
    with scripted(Told(**table)) as endpoint:
        found = refusal(lambda: store_at(endpoint, tmp_path).inspect("bucket", "key"))
    assert found[0] is code
    assert said in found[1]


@pytest.mark.parametrize(
    ("status", "error", "code", "said"),
    [
        (404, "NoSuchBucket", AppCode.S3_BUCKET_NOT_FOUND, "no bucket 'bucket'"),
        (403, "AccessDenied", AppCode.S3_BUCKET_INACCESSIBLE, "may not write to 'bucket'"),
        (403, "QuotaExceeded", AppCode.S3_BUCKET_INACCESSIBLE, "quota of the bucket 'bucket'"),
        (403, "SignatureDoesNotMatch", AppCode.RESOURCE_UNAVAILABLE, "own S3 keys are refused"),
        (503, "SlowDown", AppCode.RESOURCE_UNAVAILABLE, "answered 503 SlowDown for 'bucket'"),
        (400, "InvalidRequest", AppCode.RESOURCE_UNAVAILABLE, "answered 400 InvalidRequest"),
    ],
)
def test_each_answer_to_a_try_to_write_has_its_own_error(
    tmp_path: Path, status: int, error: str, code: AppCode, said: str
) -> None:
    def answer(method: str, path: str) -> Answer:
        return (status, {}, xml(error)) if method == "POST" else OK

    with scripted(answer) as endpoint:
        found = refusal(lambda: store_at(endpoint, tmp_path).check_writable("bucket", "out/"))
    assert found[0] is code
    assert said in found[1]


def test_a_check_whose_upload_cannot_be_taken_back_fails(tmp_path: Path) -> None:
    begun = b"<R><Bucket>bucket</Bucket><Key>k</Key><UploadId>u</UploadId></R>"

    def answer(method: str, path: str) -> Answer:
        return (200, {}, begun) if method == "POST" else (403, {}, xml("AccessDenied"))

    with scripted(answer) as endpoint:
        code, _ = refusal(lambda: store_at(endpoint, tmp_path).check_writable("bucket", ""))
    assert code is AppCode.S3_BUCKET_INACCESSIBLE


def test_a_closed_port_is_told_with_the_endpoint(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = store_at(endpoint, tmp_path)
    acts: list[Callable[[], object]] = [
        lambda: store.inspect("bucket", "key"),
        lambda: store.check_writable("bucket", ""),
        lambda: store.abort_upload("bucket", "key", "u"),
        store.store("").buckets,
    ]
    said = r"cannot be reached \(no connection\)"
    for act in acts:
        with pytest.raises(S3UnavailableError, match=said) as told:
            act()
        assert endpoint in told.value.message


def test_an_endpoint_that_hangs_is_given_up(tmp_path: Path) -> None:
    with blunt(None) as endpoint:
        store = ObjectStore(section(endpoint, tmp_path), connect_timeout=0.1, read_timeout=0.1)
        with pytest.raises(S3UnavailableError, match=r"cannot be reached \(no answer in time\)"):
            store.inspect("bucket", "key")


def test_an_endpoint_that_speaks_no_tls_is_told(tmp_path: Path) -> None:
    with blunt(b"HTTP/1.0 400 Bad Request\r\n\r\n") as endpoint:
        store = store_at(endpoint.replace("http:", "https:"), tmp_path)
        with pytest.raises(
            S3UnavailableError, match="its certificate is not trusted, or it speaks no"
        ):
            store.inspect("bucket", "key")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 1\r\nLast-Modified: yesterday\r\n\r\n',
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x00" * 100,
    ],
)
def test_an_answer_that_is_none_is_the_stores_trouble(tmp_path: Path, said: bytes) -> None:
    with blunt(said) as endpoint, pytest.raises(S3UnavailableError):
        store_at(endpoint, tmp_path).inspect("bucket", "key")


@pytest.mark.parametrize("body", [b"<html>not xml", b"{}", b"\xff\xfe", b"<a/>"])
def test_a_list_that_is_none_is_the_stores_trouble(tmp_path: Path, body: bytes) -> None:
    with scripted(lambda method, path: (200, {}, body)) as endpoint:
        store = store_at(endpoint, tmp_path)
        if body == b"<a/>":
            assert store.store("").buckets() == []
            with pytest.raises(
                S3UnavailableError, match="gave an answer for 'bucket/key' that is none"
            ):
                store.start_upload("bucket", "key", None)
        else:
            with pytest.raises(S3UnavailableError, match=r"gave an answer|answered 500"):
                store.store("").buckets()


@pytest.mark.parametrize(("bucket", "key"), [("bucket", ""), ("no bucket!", "key"), ("", "key")])
def test_a_name_that_the_client_refuses_is_told_as_such(
    tmp_path: Path, bucket: str, key: str
) -> None:
    store = store_at("http://127.0.0.1:1", tmp_path)
    for act in (store.inspect, store.grant_get):
        assert refusal(lambda act=act: act(bucket, key))[0] is AppCode.ILLEGAL_S3_PATH  # type: ignore[misc]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-amz-server-side-encryption": "aws:kms"}, "SSE-KMS"),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, "SSE-KMS"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "SSE-C"),
        ({"x-amz-storage-class": "GLACIER"}, "is archived (GLACIER)"),
        (
            {"x-amz-storage-class": "DEEP_ARCHIVE", "x-amz-restore": 'ongoing-request="true"'},
            "is archived (DEEP_ARCHIVE)",
        ),
    ],
)
def test_an_object_that_could_not_be_read_or_verified_is_refused(
    tmp_path: Path, headers: dict[str, str], said: str
) -> None:
    with scripted(lambda method, path: head(headers)) as endpoint:
        code, message = refusal(lambda: store_at(endpoint, tmp_path).inspect("bucket", "key"))
    assert code is AppCode.UNSUPPORTED
    assert said in message


@pytest.mark.parametrize(
    ("headers", "crc"),
    [
        ({}, None),
        ({"x-amz-server-side-encryption": "AES256"}, None),
        ({"x-amz-storage-class": "GLACIER_IR"}, None),
        (
            {"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="false", expiry'},
            None,
        ),
        ({"x-amz-checksum-crc64nvme": "RguJ5chLHDM="}, "RguJ5chLHDM="),
        (
            {"x-amz-checksum-crc64nvme": "RguJ5chLHDM=", "x-amz-checksum-type": "FULL_OBJECT"},
            "RguJ5chLHDM=",
        ),
        ({"x-amz-checksum-crc64nvme": "RguJ5chLHDM=", "x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-crc64nvme": "RguJ5chLHDM=-2"}, None),
    ],
)
def test_an_object_that_can_be_is_taken(
    tmp_path: Path, headers: dict[str, str], crc: str | None
) -> None:
    with scripted(lambda method, path: head(headers)) as endpoint:
        info = store_at(endpoint, tmp_path).inspect("bucket", "key")
    assert info == ObjectInfo(5, MD5, None, crc)


class TestSettings:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "no section",
            "[other]\naws_access_key_id = a\naws_secret_access_key = b\n",
            "[default]\naws_access_key_id = a\n",
            "[default]\naws_access_key_id =\naws_secret_access_key = b\n",
            "[default]\naws_secret_access_key b3cret\n",
            "[default]\n[default]\n",
        ],
    )
    def test_a_credentials_file_of_another_form_is_told_without_its_secrets(
        self, tmp_path: Path, text: str
    ) -> None:
        config = section("http://127.0.0.1:1", tmp_path)
        config.credentials_file.write_text(text)
        with pytest.raises(
            ConfigError, match=r"needs a section \[default\] with aws_acc"
        ) as caught:
            ObjectStore(config)
        assert "b3cret" not in str(caught.value)

    def test_a_credentials_file_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        config = section("http://127.0.0.1:1", tmp_path)
        config.credentials_file.write_bytes(b"[default]\n\xff")
        with pytest.raises(ConfigError, match="needs a section"):
            ObjectStore(config)
        config.credentials_file.unlink()
        with pytest.raises(ConfigError, match=r"s3\.credentials_file: cannot read .*No such file"):
            ObjectStore(config)

    def test_a_profile_and_a_session_token_are_used(self, tmp_path: Path) -> None:
        config = section("http://127.0.0.1:1", tmp_path).model_copy(update={"profile": "other"})
        config.credentials_file.write_text(
            "[other]\naws_access_key_id = a%b\naws_secret_access_key = c\naws_session_token = t\n"
        )
        url = ObjectStore(config).grant_get("bucket", "key").url
        assert "X-Amz-Credential=a%25b%2F" in url
        assert "X-Amz-Security-Token=t" in url

    def test_a_certificate_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        config = section("https://127.0.0.1:1", tmp_path)
        config = config.model_copy(update={"ca_file": tmp_path / "none.pem"})
        with pytest.raises(ConfigError, match=r"s3\.ca_file: there is no file .*none\.pem"):
            ObjectStore(config)

    @pytest.mark.parametrize("endpoint", ["s3.example.org", "ftp:/x", "http://"])
    def test_an_endpoint_that_is_no_url_is_told(self, tmp_path: Path, endpoint: str) -> None:
        with pytest.raises(ConfigError, match=r"s3\.endpoint_url or s3\.region: Invalid endpoint"):
            ObjectStore(section(endpoint, tmp_path))
