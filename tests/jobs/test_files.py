"""Files of users: granted by the caller's path rules, for just the bytes that were announced."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from gateway import wire
from gateway.config import PathRule
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller
from gateway.jobs.files import KEPT, Announced, Files
from gateway.store.db import Database
from gateway.store.tables import Audit, Upload
from tests.daemon.fakes import Store
from tests.daemon.world import ADA, ALICE, BOB, HTTP, World, make_config
from tests.s3.places import Place

MIB = 1 << 20
PART = 5 * MIB
BIG = bytes(range(256)) * (PART // 256) + b"end"


def b64md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def announced(file: str, data: bytes = b"hello", **more: Any) -> Announced:
    parts = [b64md5(data[at : at + PART]) for at in range(0, len(data), PART)]
    fields: dict[str, Any] = {"part_md5s": parts if len(data) > PART else None, **more}
    return Announced(file=file, size=len(data), md5=b64md5(data), **fields)


class Room:
    """The service at a bucket, with a prefix of its own."""

    def __init__(self, database: Database, store: Store, bucket: Place, folder: Path) -> None:
        self.database, self.store, self.bucket = database, store, bucket
        self.folder = folder
        self.at = f"{bucket.bucket}/{uuid.uuid4().hex}"
        self.service = self.made()

    def made(self, public: str | None = None, **s3: Any) -> Files:
        config = make_config(self.store._config, self.folder)
        section = config.s3.model_copy(update={"public_endpoint_url": public, **s3})
        rules = (
            PathRule(path=self.at, perm="write", users=("alice",)),
            PathRule(path=self.at, perm="read", users=("bob",)),
        )
        config = config.model_copy(update={"s3": section, "path_rules": rules})
        public_store = Store(section.public()) if public else self.store
        return Files(config, self.database, self.store, public_store)

    def write(self, *files: Announced, caller: Caller = ALICE) -> list[wire.Upload]:
        return self.service.write(caller, files, PART).uploads

    def refused(self, *files: Announced, caller: Caller = ALICE) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            self.write(*files, caller=caller)
        assert self.audits() == []
        return caught.value

    def audits(self) -> list[tuple[str, str, str]]:
        with self.database.read() as session:
            rows = session.exec(select(Audit).where(Audit.action.startswith("files.")))
            return [(row.user, row.action, row.result) for row in rows]

    def uploads(self) -> list[str]:
        with self.database.read() as session:
            return [row.upload_id for row in session.exec(select(Upload))]


@pytest.fixture
def room(world: World, database: Database, store: Store, bucket: Place, tmp_path: Path) -> Room:
    return Room(database, store, bucket, tmp_path)


def put(grant: wire.Grant | None, data: bytes) -> httpx.Response:
    assert grant is not None
    return HTTP.put(grant.url, headers=grant.headers, content=data)


def test_a_grant_writes_just_those_bytes_at_just_that_key(room: Room) -> None:
    (grant,) = room.write(announced(f"{room.at}/a b.txt"))
    assert (grant.file, grant.there, grant.multipart) == (f"{room.at}/a b.txt", False, None)
    assert put(grant.put, b"hello").status_code == 200
    assert room.bucket.get(f"{room.at.partition('/')[2]}/a b.txt") == b"hello"
    assert room.audits() == [("alice", "files.write", "ok: 1 files, 5 bytes")]


def test_what_is_there_with_the_same_bytes_needs_no_upload(room: Room) -> None:
    file = f"{room.at}/a"
    put(room.write(announced(file))[0].put, b"hello")
    (again,) = room.write(announced(file))
    assert (again.there, again.put, again.multipart) == (True, None, None)
    assert not room.write(announced(file, b"other"))[0].there


def test_a_large_file_goes_in_parts_and_goes_on_when_it_is_asked_for_again(room: Room) -> None:
    file = announced(f"{room.at}/big", BIG)
    (first,) = room.write(file)
    assert first.multipart is not None
    put(first.multipart.parts[0], BIG[:PART])
    (second,) = room.write(file)
    assert second.multipart is not None
    assert len(room.uploads()) == 1
    done = put(second.multipart.parts[1], BIG[PART:])
    assert done.status_code == 200
    rows = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{hashlib.md5(data).hexdigest()}</ETag></Part>"
        for n, data in ((1, BIG[:PART]), (2, BIG[PART:]))
    )
    end = second.multipart.complete
    answer = HTTP.post(
        end.url,
        headers=end.headers,
        content=f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>",
    )
    assert answer.status_code == 200
    assert room.write(file)[0].there


def test_another_user_other_bytes_and_an_upload_that_is_gone_are_new_uploads(room: Room) -> None:
    file = announced(f"{room.at}/big", BIG)
    room.write(file)
    room.write(file, caller=ADA)
    room.write(announced(f"{room.at}/big", BIG + b"!"))
    assert len(set(room.uploads())) == 3
    bucket, _, key = file.file.partition("/")
    for upload in room.uploads():
        room.store.abort_upload(bucket, key, upload)
    before = set(room.uploads())
    room.write(file)
    assert len(set(room.uploads()) - before) == 1
    assert len(room.uploads()) == 3


def test_an_upload_that_nobody_goes_on_with_is_aborted_after_a_week(room: Room) -> None:
    room.write(announced(f"{room.at}/old", BIG), announced(f"{room.at}/new", BIG))
    with room.database.write() as session:
        row = session.exec(select(Upload).where(Upload.key.endswith("old"))).one()
        row.created -= KEPT + timedelta(hours=1)
        session.add(row)
    assert room.service.tick() > 60
    assert len(room.uploads()) == 1
    assert [
        key.rpartition("/")[2] for key in room.bucket.uploads() if room.at.partition("/")[2] in key
    ] == ["new"]


def test_a_grant_reads_one_object_and_tells_its_checksums(room: Room) -> None:
    key = f"{room.at.partition('/')[2]}/a"
    room.bucket.put(key, b"hello")
    answer = room.service.read(BOB, [f"{room.at}/a"])
    (grant,) = answer.downloads
    assert (grant.size, grant.etag) == (5, hashlib.md5(b"hello").hexdigest())
    assert HTTP.get(grant.url, headers=grant.headers).content == b"hello"
    assert room.audits() == [("bob", "files.read", "ok: 1 files")]


def test_who_may_only_read_is_granted_no_writing_and_who_may_neither_nothing(room: Room) -> None:
    assert room.refused(announced(f"{room.at}/a"), caller=BOB).code is AppCode.S3_PATH_INACCESSIBLE
    eve = Caller("eve", 2009, frozenset(), False, "uid=2009 pid=1")
    assert room.refused(announced(f"{room.at}/a"), caller=eve).code is AppCode.S3_PATH_INACCESSIBLE
    with pytest.raises(GatewayError) as caught:
        room.service.read(eve, [f"{room.at}/a"])
    assert caught.value.code is AppCode.S3_PATH_INACCESSIBLE
    # One that is allowed carries no other with it.
    assert (
        room.refused(announced(f"{room.at}/a"), announced(f"{room.at}x/a")).code
        is AppCode.S3_PATH_INACCESSIBLE
    )


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a;b", "a//b", "a/", "a\nb", "./a"])
def test_a_key_that_no_job_could_take_is_not_written(room: Room, name: str) -> None:
    error = room.refused(announced(f"{room.at}/{name}"))
    assert error.code is AppCode.ILLEGAL_S3_PATH


def test_what_is_not_there_cannot_be_read_and_no_such_bucket_not_written(room: Room) -> None:
    with pytest.raises(GatewayError) as caught:
        room.service.read(ALICE, [f"{room.at}/nothing"])
    assert caught.value.code is AppCode.S3_PATH_NOT_FOUND
    gone = f"gone-{uuid.uuid4().hex}"
    assert room.refused(announced(f"{gone}/a"), caller=ADA).code is AppCode.S3_BUCKET_NOT_FOUND


def test_files_that_cannot_be_are_refused_with_the_rule(room: Room) -> None:
    file = f"{room.at}/a"
    assert "twice" in room.refused(announced(file), announced(file)).message
    assert (
        "MD5 of each of its 2 parts" in room.refused(announced(file, BIG, part_md5s=None)).message
    )
    small = announced(file, part_md5s=[b64md5(b"hello")])
    assert "leave part_md5s out" in room.refused(small).message
    huge = announced(file).model_copy(update={"size": 10_001 * PART})
    assert "S3 takes at most 10000" in room.refused(huge).message
    room.service = room.made(max_upload=4)
    assert "at most 4" in room.refused(announced(file)).message


def test_grants_are_for_the_endpoint_that_users_reach_and_the_daemon_asks_its_own(
    room: Room,
) -> None:
    room.service = room.made(public="https://s3.example.org")
    (small, big) = room.write(announced(f"{room.at}/a"), announced(f"{room.at}/b", BIG))
    assert small.put is not None
    assert big.multipart is not None
    room.bucket.put(f"{room.at.partition('/')[2]}/c", b"hello")
    (read,) = room.service.read(ALICE, [f"{room.at}/c"]).downloads
    for url in (
        small.put.url,
        read.url,
        big.multipart.parts[0].url,
        big.multipart.complete.url,
    ):
        assert url.startswith(f"https://s3.example.org/{room.at}")
