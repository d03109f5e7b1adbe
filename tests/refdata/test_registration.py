"""Registering reference data: what is looked at, what is refused, and what is remembered."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import select

from gateway.errors import AppCode, GatewayError
from gateway.refdata.archives import directory_name, file_name, kind_of
from gateway.s3.client import ObjectInfo
from gateway.store.tables import Audit, Refdata
from tests.daemon.world import World
from tests.refdata.depot import Depot, crc


@pytest.fixture
def depot(world: World) -> Depot:
    return Depot(world)


def _refused(depot: Depot, path: str, **options: Any) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        depot.register(path, **options)
    return refused.value


def test_an_object_is_remembered_as_it_is_now(depot: Depot) -> None:
    path = depot.put("db.tar.gz", b"archive")
    made = depot.register(path, crc64nvme=crc(b"archive"))
    assert (made.file, made.size, made.unpack, made.registered_by) == (path, 7, True, "ada")
    assert made.etag == "888d0ee361af3603736f32131e7b20a2"
    assert made.crc64nvme == crc(b"archive")
    assert depot.service.everything() == [made]
    assert depot.service.of_path(path) == [made]
    assert depot.woken == [None]
    with depot.world.database.read() as session:
        audits = session.exec(select(Audit)).all()
    assert [(row.action, row.target, row.result) for row in audits] == [
        ("refdata.register", path, "ok")
    ]


def test_a_checksum_that_is_not_that_of_the_store_is_refused_with_both(depot: Depot) -> None:
    path = depot.put("db.tar", ChecksumAlgorithm="CRC64NVME", ChecksumCRC64NVME=crc(b"archive"))
    refused = _refused(depot, path, crc64nvme="AAAAAAAAAAA=")
    assert refused.code is AppCode.CHECKSUM_MISMATCH
    assert crc(b"archive") in refused.message
    assert depot.register(path, crc64nvme=crc(b"archive")).crc64nvme == crc(b"archive")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "tar"), ("a.tar.gz", "tar.gz"), ("a.b.tgz", "tar.gz"), ("A.TAR.GZ", "tar.gz"), ("a.tar.zst", "tar.zst"),
        ("a.zip", "zip"), ("a.fa.gz", "gz"), ("a/b.tar/c.zip", "zip"),
    ],
)  # fmt: skip
def test_the_kind_of_an_archive_is_told_by_its_ending(name: str, kind: str) -> None:
    assert kind_of(name, unpack=True) == kind
    assert kind_of(name, unpack=False) == "file"


@pytest.mark.parametrize("name", ["a.txt", "a.tar.bz2", "a.zst", "a.tar/b", "tar"])
def test_what_nothing_unpacks_is_refused_with_the_endings_that_there_are(
    depot: Depot, name: str
) -> None:
    refused = _refused(depot, depot.put(name))
    assert refused.code is AppCode.ILLEGAL_PARAMETER
    assert ".tar, .zip" in refused.message
    assert "register it without unpack" in refused.message
    assert depot.register(depot.put(name), unpack=False).unpack is False


def test_one_file_loses_its_gz_and_an_archive_or_a_plain_file_keeps_its_name() -> None:
    assert file_name("x/genome.fa.gz", "gz") == "genome.fa"
    assert file_name("x/genome.fa.gz", "file") == "genome.fa.gz"


def test_what_is_not_in_s3_or_no_object_is_refused(depot: Depot) -> None:
    bucket = depot.world.bucket.bucket
    assert _refused(depot, f"{bucket}/none.tar").code is AppCode.S3_PATH_NOT_FOUND
    assert _refused(depot, "no-such-bucket/x.tar").code is AppCode.S3_BUCKET_NOT_FOUND
    assert _refused(depot, bucket).code is AppCode.ILLEGAL_S3_PATH


def test_a_second_registration_of_the_same_content_is_refused_unless_forced(depot: Depot) -> None:
    path = depot.put("db.tar")
    first = depot.register(path)
    refused = _refused(depot, path)
    assert refused.code is AppCode.REFDATA_EXISTS
    assert f"as {first.id}; use that, or force it" in refused.message
    second = depot.register(path, force=True)
    assert second.id != first.id
    depot.put("db.tar", b"new content")
    third = depot.register(path)
    assert [item.id for item in depot.service.of_path(path)] == [first.id, second.id, third.id]
    with depot.world.database.read() as session:
        names = {directory_name(row) for row in session.exec(select(Refdata))}
    assert len(names) == 3


def test_of_two_registrations_in_one_moment_one_is_refused(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = depot.put("db.tar")
    meet = threading.Barrier(2)
    inspect = depot.world.store.inspect

    def together(bucket: str, key: str) -> ObjectInfo:
        meet.wait(10)
        return inspect(bucket, key)

    monkeypatch.setattr(depot.world.store, "inspect", together)

    def register() -> AppCode | None:
        try:
            depot.register(path)
        except GatewayError as exc:
            return exc.code
        return None

    with ThreadPoolExecutor(2) as pool:
        found = {future.result() for future in [pool.submit(register) for _ in range(2)]}
    assert found == {None, AppCode.REFDATA_EXISTS}
    assert len(depot.service.everything()) == 1


@pytest.mark.parametrize("text", ["7", "0", "-1", "x", "", "1 OR 1", "9" * 30])
def test_an_id_that_is_none_is_no_such_refdata(depot: Depot, text: str) -> None:
    with pytest.raises(GatewayError) as refused:
        depot.service.get(text)
    assert refused.value.code is AppCode.NO_SUCH_REFDATA


def test_a_path_that_is_not_registered_says_how_it_would_be(depot: Depot) -> None:
    with pytest.raises(GatewayError) as refused:
        depot.service.of_path("bucket/key.tar")
    assert refused.value.code is AppCode.NO_SUCH_REFDATA
    assert "cts admin refdata register bucket/key.tar" in refused.value.message
