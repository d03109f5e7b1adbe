"""Files in and out by the client: the real grants, and moto as the object store."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import wire
from gateway.client import Client, CtsError, TransferError, transfer
from gateway.client.local import place, walk
from gateway.errors import StoreError
from gateway.jobs.files import Files
from tests.api.gateway_fake import JOB, FakeGateway
from tests.daemon.world import make_config
from tests.s3.places import Place, bucket_at, section

MIB = 1 << 20


@pytest.fixture(scope="module")
def bucket(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with bucket_at(moto, tmp_path_factory.mktemp("s3"), "key", "secret") as made:
        yield made


class Room:
    """A client of the fake gateway whose files are moto's, below a prefix of the test's own."""

    def __init__(self, fake: FakeGateway, bucket: Place, folder: Path) -> None:
        self.fake, self.bucket, self.folder = fake, bucket, folder
        config = make_config(section(bucket.endpoint, folder), folder)
        fake.files.real = Files(config, fake.database, bucket.store, bucket.store)
        self.prefix = uuid.uuid4().hex
        self.target = f"{bucket.bucket}/{self.prefix}"
        self.client = Client(str(fake.socket))

    def file(self, name: str, data: bytes = b"hello") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def stored(self) -> dict[str, bytes]:
        names = [name for name in self.bucket.names() if name.startswith(self.prefix)]
        return {name.removeprefix(f"{self.prefix}/"): self.bucket.get(name) for name in names}

    def job(self, monkeypatch: pytest.MonkeyPatch, **outputs: bytes) -> str:
        """A job that wrote these files."""
        rows = []
        for name, data in outputs.items():
            key = f"{self.prefix}/{name}"
            self.bucket.put(key, data)
            info = self.bucket.store.inspect(self.bucket.bucket, key)
            file = f"{self.target}/{name}"
            rows.append(wire.Output(file=file, size=len(data), etag=info.etag))
        return self.job_of(monkeypatch, rows)

    def job_of(self, monkeypatch: pytest.MonkeyPatch, rows: list[wire.Output]) -> str:
        number = self.fake.jobs.add(phase="complete", output_dir=f"{self.target}/")
        plain = self.fake.jobs.job

        def job(caller: Any, job_id: int) -> wire.Job:
            return plain(caller, job_id).model_copy(update={"outputs": rows})

        monkeypatch.setattr(self.fake.jobs, "job", job)
        return str(number)


@pytest.fixture
def room(fake: FakeGateway, bucket: Place, tmp_path: Path) -> Room:
    return Room(fake, bucket, tmp_path)


def test_a_file_and_a_directory_arrive_under_their_names_with_their_checksums(room: Room) -> None:
    room.file("reads/a b.txt")
    room.file("reads/deep/er/empty", b"")
    single = room.file("notes ä.txt", b"notes")
    told: list[tuple[int, int]] = []
    found = room.client.upload(
        [room.folder / "reads", str(single)], room.target, on_bytes=lambda *n: told.append(n)
    )
    assert room.stored() == {
        "reads/a b.txt": b"hello",
        "reads/deep/er/empty": b"",
        "notes ä.txt": b"notes",
    }
    assert [one.file.removeprefix(room.target) for one in found] == [
        "/reads/a b.txt",
        "/reads/deep/er/empty",
        "/notes ä.txt",
    ]
    assert (found[0].size, found[0].etag) == (5, "5d41402abc4b2a76b9719d911017c592")
    assert told[-1] == (10, 10)


def test_what_is_in_the_current_directory_goes_right_below_the_target(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.file("here/a")
    monkeypatch.chdir(room.folder / "here")
    room.client.upload(".", f"{room.target}/")
    assert room.stored() == {"a": b"hello"}


def test_a_large_file_goes_up_in_parts_and_comes_back_in_ranges(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PART", 5 * MIB)
    data = os.urandom(MIB) * 12
    (one,) = room.client.upload(room.file("big", data), room.target)
    assert one.etag is not None
    assert one.etag.endswith("-3")
    job = room.job_of(monkeypatch, [one])
    (path,) = room.client.download(job, room.folder / "back")
    assert path.read_bytes() == data


def test_what_is_there_already_is_not_sent_again_and_what_changed_is(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, other = room.file("same"), room.file("other")
    room.client.upload([same, other], room.target)
    other.write_bytes(b"changed")
    answers: list[wire.Uploads] = []
    write = room.fake.files.write

    def noted(*args: Any) -> wire.Uploads:
        answers.append(write(*args))
        return answers[-1]

    monkeypatch.setattr(room.fake.files, "write", noted)
    room.client.upload([same, other], room.target)
    assert {row.file.rpartition("/")[2]: row.there for row in answers[0].uploads} == {
        "same": True,
        "other": False,
    }
    assert room.stored()["other"] == b"changed"


def test_two_files_of_one_name_a_missing_one_and_a_fifo_are_refused_before_anything_is_sent(
    room: Room,
) -> None:
    a, b = room.file("x/a"), room.file("y/a")
    with pytest.raises(TransferError, match="would both be"):
        room.client.upload([a, b], room.target)
    with pytest.raises(TransferError, match="No such file"):
        room.client.upload([a, room.folder / "nothing"], room.target)
    os.mkfifo(room.folder / "x" / "pipe")
    with pytest.raises(TransferError, match="no regular file"):
        room.client.upload(room.folder / "x", room.target)
    (room.folder / "y" / "link").symlink_to(room.folder / "x")
    with pytest.raises(TransferError, match="link to a directory"):
        room.client.upload(room.folder / "y", room.target)
    assert room.stored() == {}


def test_a_refusal_of_the_gateway_is_its_own_error(room: Room) -> None:
    path = room.file("a")
    for target, code in ((f"{room.target}/a;b", 30020), (f"gone-{room.prefix}", 40020)):
        with pytest.raises(CtsError) as caught:
            room.client.upload(path, target)
        assert caught.value.appcode == code


def test_outputs_come_back_by_their_names_all_or_some(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"a.txt": b"1", "deep/b.txt": b"22", "c.bam": b""}
    job = room.job(monkeypatch, **outputs)
    (path,) = room.client.download(job, room.folder / "some", match="*.bam")
    assert path == room.folder / "some" / "c.bam"
    found = room.client.download(job, room.folder / "all")
    assert {str(p.relative_to(room.folder / "all")): p.read_bytes() for p in found} == outputs
    assert sorted(p.name for p in (room.folder / "all").iterdir()) == ["a.txt", "c.bam", "deep"]
    with pytest.raises(TransferError, match="no output that matches"):
        room.client.download(job, room.folder / "none", match=["*.txt", "*.zip"])


def test_a_broken_download_goes_on_and_a_file_of_other_bytes_is_replaced(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = room.job(monkeypatch, a=b"aaaa", b=b"bbbb", c=b"cccc")
    back = room.folder / "back"
    back.mkdir()
    (back / "a").write_bytes(b"aaaa")
    (back / "b").write_bytes(b"xxxx")
    kept = (back / "a").stat().st_mtime_ns, (back / "a").stat().st_ino
    room.client.download(job, back)
    assert ((back / "a").stat().st_mtime_ns, (back / "a").stat().st_ino) == kept
    assert (back / "b").read_bytes() == b"bbbb"
    assert (back / "c").read_bytes() == b"cccc"


def test_an_output_that_was_replaced_since_the_job_is_not_taken_for_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = room.job(monkeypatch, a=b"aaaa")
    room.bucket.put(f"{room.prefix}/a", b"bbbb")
    with pytest.raises(TransferError, match="not what the job wrote any more"):
        room.client.download(job, room.folder / "back")
    assert list((room.folder / "back").iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/x", "a//b", "a/./b", "..", "", "a\0b"])
def test_no_name_of_an_object_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferError, match="cannot be the name of a file"):
        place(tmp_path, name)


def test_no_link_that_is_there_leads_a_download_elsewhere(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = room.job(monkeypatch, **{"sub/a": b"1", "b": b"2"})
    back, outside = room.folder / "back", room.folder / "outside"
    back.mkdir()
    outside.mkdir()
    (back / "sub").symlink_to(outside)
    with pytest.raises(TransferError, match="behind the link"):
        room.client.download(job, back)
    (back / "sub").unlink()
    (outside / "victim").write_bytes(b"mine")
    (back / "b").symlink_to(outside / "victim")
    room.client.download(job, back)
    assert (outside / "victim").read_bytes() == b"mine"
    assert (back / "b").read_bytes() == b"2"


def test_a_file_where_another_needs_a_directory_is_told_before_anything_is_fetched(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = room.job(monkeypatch, **{"a": b"1", "a/b": b"2"})
    with pytest.raises(TransferError, match="cannot both be files"):
        room.client.download(job, room.folder / "back")
    assert not (room.folder / "back").exists()
    (room.folder / "c").mkdir()
    (room.folder / "c" / "a").mkdir()
    with pytest.raises(TransferError, match="is a directory"):
        room.client.download(job, room.folder / "c", match="a")


def test_bytes_that_are_not_the_objects_never_get_its_name(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = room.job(monkeypatch, a=b"aaaa")
    read = room.fake.files.read

    def other(caller: Any, files: Any) -> wire.Downloads:
        found = read(caller, files)
        for row in found.downloads:
            row.crc64nvme = "AAAAAAAAAAA="  # that of no such bytes
        return found

    monkeypatch.setattr(room.fake.files, "read", other)
    with pytest.raises(TransferError, match="CRC64NVME is wrong"):
        room.client.download(job, room.folder / "back")
    assert list((room.folder / "back").iterdir()) == []


def test_a_transfer_outlives_a_restart_of_the_daemon(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    write = room.fake.files.write

    def away(*args: Any) -> wire.Uploads:
        calls.append(args)
        if len(calls) == 1:
            threading.Thread(target=room.fake.restart).start()
            raise StoreError("gone")
        return write(*args)

    monkeypatch.setattr(room.fake.files, "write", away)
    room.client.upload(room.file("a"), room.target)
    assert room.stored() == {"a": b"hello"}
    assert len(calls) >= 2


def test_the_gateway_sees_no_byte_of_a_file_and_its_log_no_url(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = b"never-through-the-daemon"
    room.client.upload(room.file("a", secret), room.target)
    room.client.download(room.job(monkeypatch, a=secret), room.folder / "back")
    assert secret.decode() not in room.fake.log.text
    assert "Signature" not in room.fake.log.text


def test_a_walk_names_files_as_cp_would(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_bytes(b"1")
    (tmp_path / "d" / "g").symlink_to(tmp_path / "d" / "e" / "f")
    assert [one.path for one in walk(tmp_path / "d", "bucket/p/")] == [
        "bucket/p/d/g",
        "bucket/p/d/e/f",
    ]
    assert [one.path for one in walk(tmp_path / "d" / "g", "bucket")] == ["bucket/g"]


def test_bodies_larger_than_such_lists_need_are_refused(fake: FakeGateway) -> None:
    for path in ("/files", "/files/read"):
        answer: httpx.Response = fake.http.post(path, content=b" " * (5 << 20))
        assert answer.status_code == 413
        assert answer.json()["error"]["message"].startswith(
            "The body of this request may have 4 MiB"
        )


def test_a_job_without_outputs_has_nothing_to_download(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room.client.download(room.client.submit(JOB), room.folder / "back") == []
