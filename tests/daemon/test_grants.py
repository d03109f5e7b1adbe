"""Grants: URLs that really work at a store, for exactly the bytes and the objects that they were made for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.agent.crc import CRC32, CRC64NVME, Crc
from gateway.daemon.grants import output_path
from gateway.store import jobs as store
from gateway.store.tables import InputFile
from tests.daemon.counting import peak
from tests.daemon.world import HTTP, MIB, World, announced, b64, put

BIG = bytes(range(256)) * (6 * MIB // 256)


def _out(world: World, number: int, *files: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return world.ask(number, "stage-out", index, outputs=list(files))


def _input(world: World, number: int, data: bytes, index: int = 0) -> int:
    """Put an input of a container into the store; returns its id."""
    key = f"{world.prefix}in-{index}"
    world.bucket.put(key, data)
    with world.database.write() as session:
        row = store.inputs(session, number, index)[0]
        row.bucket, row.key = world.bucket.bucket, key
    return row.id or 0


def test_an_input_is_read_by_its_url_without_any_key(world: World) -> None:
    number, _ = world.submit()
    wanted = _input(world, number, b"abc")
    answer = world.ask(number, "stage-in", inputs=[wanted])
    assert [row["id"] for row in answer["inputs"]] == [wanted]
    got = HTTP.get(answer["inputs"][0]["url"], headers=answer["inputs"][0]["headers"])
    assert (got.status_code, got.content) == (200, b"abc")
    assert "secret" not in answer["inputs"][0]["url"].lower()


def test_the_input_of_another_container_or_job_is_not_granted(world: World) -> None:
    number, _ = world.submit(2)
    other, _ = world.submit()
    mine = _input(world, number, b"a")
    for strange in (_input(world, number, b"b", 1), _input(world, other, b"c"), 10**9, -1):
        answer = world.ask(number, "stage-in", inputs=[mine, strange])
        assert answer["error"] == f"input {strange} is none of this container's"
        assert answer["inputs"] == []


def test_an_output_is_written_by_its_url_with_exactly_the_headers_that_came_with_it(
    world: World,
) -> None:
    number, _ = world.submit()
    granted = _out(world, number, announced("a/b.txt", b"abc"))["outputs"][0]
    assert granted["multipart"] is None
    put(granted, b"abc")
    assert world.bucket.get(f"{world.prefix}a/b.txt") == b"abc"
    assert granted["put"]["headers"] == {"Content-MD5": b64(b"abc")}


def test_the_md5_of_the_bytes_is_part_of_each_signature(world: World) -> None:
    # So a store refuses other bytes, and another MD5; tests/s3 tries that at one that does (moto does not).
    number, _ = world.submit()
    files = [announced("a", b"abc"), announced("b", BIG)]
    small, large = _out(world, number, *files)["outputs"]
    for granted in (small["put"], *large["multipart"]["parts"]):
        assert set(granted["headers"]) == {"Content-MD5"}
        assert _signed(granted["url"]) == {"content-md5", "host"}
    crc = announced("c", b"abc") | {"crc64nvme": "AAAAAAAAAAA="}
    granted = _out(world, number, crc)["outputs"][0]["put"]
    names = {name.lower() for name in granted["headers"]}
    assert names == {"content-md5", "x-amz-checksum-crc64nvme", "x-amz-sdk-checksum-algorithm"}
    assert _signed(granted["url"]) == names | {"host"}


@pytest.mark.parametrize("kind", [CRC64NVME, CRC32], ids=lambda kind: kind.name)
def test_the_crc_of_an_output_of_one_part_is_part_of_its_signature(world: World, kind: Crc) -> None:
    number, _ = world.submit()
    value = kind.encode(kind.of(b"abc", 0))
    granted = _out(world, number, crc_of("a", b"abc", kind))["outputs"][0]
    assert granted["multipart"] is None
    assert granted["put"]["headers"] == {
        kind.header: value,
        "x-amz-sdk-checksum-algorithm": kind.name,
    }
    assert _signed(granted["put"]["url"]) == {*granted["put"]["headers"], "host"}
    put(granted, b"abc")
    assert world.bucket.get(f"{world.prefix}a") == b"abc"


@pytest.mark.parametrize("kind", [CRC64NVME, CRC32], ids=lambda kind: kind.name)
def test_an_output_in_parts_is_granted_before_its_bytes_are_known(world: World, kind: Crc) -> None:
    number, _ = world.submit()
    granted = _out(world, number, crc_of("big", BIG, kind))["outputs"][0]
    parts = granted["multipart"]["parts"]
    assert [(part["number"], part["headers"]) for part in parts] == [(1, {}), (2, {})]
    put(granted, BIG, parts=1)
    before = world.outputs(number)[0].upload_id
    again = _out(world, number, crc_of("big", BIG, kind))["outputs"][0]
    assert world.outputs(number)[0].upload_id == before
    put(again, BIG)
    assert world.bucket.get(f"{world.prefix}big") == BIG


@pytest.mark.parametrize("checksum", [None, {"algorithm": "CRC64NVME", "value": None}])
def test_an_output_of_one_part_without_a_checksum_is_refused(
    world: World, checksum: dict[str, Any] | None
) -> None:
    number, _ = world.submit()
    answer = _out(world, number, {"path": "a", "size": 3, "checksum": checksum})
    assert answer["error"]
    assert answer["outputs"] == []
    assert world.outputs(number) == []


def crc_of(path: str, data: bytes, kind: Crc) -> dict[str, Any]:
    """What the agent says of an output whose MD5 it does not compute."""
    value = kind.encode(kind.of(data, 0)) if len(data) <= 5 * MIB else None
    return {"path": path, "size": len(data), "checksum": {"algorithm": kind.name, "value": value}}


def _signed(url: str) -> set[str]:
    return set(dict(httpx.URL(url).params)["X-Amz-SignedHeaders"].split(";"))


def test_a_large_output_goes_in_parts_of_which_each_takes_its_own_bytes(world: World) -> None:
    number, _ = world.submit()
    granted = _out(world, number, announced("big", BIG))["outputs"][0]
    assert granted["put"] is None
    assert granted["multipart"]["part_size"] == 5 * MIB
    assert [part["number"] for part in granted["multipart"]["parts"]] == [1, 2]
    first = granted["multipart"]["parts"][0]
    assert first["headers"] == {"Content-MD5": b64(BIG[: 5 * MIB])}
    put(granted, BIG)
    assert world.bucket.get(f"{world.prefix}big") == BIG
    parts = b"".join(
        hashlib.md5(part, usedforsecurity=False).digest()
        for part in (BIG[: 5 * MIB], BIG[5 * MIB :])
    )
    assert (
        world.outputs(number)[0].etag
        == hashlib.md5(parts, usedforsecurity=False).hexdigest() + "-2"
    )


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../x", "..", ".", "./a", "a/.", "/etc/passwd", "a//b", "a/", "/", "a\nb", "a\0b",
        "\x1b[2J", "a\x7f",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_or_cannot_be_a_key_is_refused(world: World, path: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        output_path(path)


@pytest.mark.parametrize(
    "path", ["a", "a b/ü.txt", ".hidden", "...", "a'b;c\"d$(x)`|*", "%2e%2e/a"]
)
def test_any_other_name_is_a_name(path: str) -> None:
    assert output_path(path) == path


def test_one_bad_path_refuses_the_request_whole_and_tells_why(world: World) -> None:
    number, _ = world.submit()
    answer = _out(world, number, announced("good", b"x"), announced("../bad", b"x"))
    assert "the output '../bad' cannot be a key" in answer["error"]
    assert answer["outputs"] == []
    assert world.outputs(number) == []


def test_a_key_is_at_most_what_s3_takes_in_bytes(world: World) -> None:
    number, _ = world.submit()
    room = 1024 - len(world.prefix)
    longest = "é" * (room // 2) + "x" * (room % 2)
    assert _out(world, number, announced(longest, b"x"))["error"] is None
    assert (
        "has a key of over 1024 bytes"
        in _out(world, number, announced(longest + "x", b"x"))["error"]
    )


def test_with_declobber_each_container_writes_below_its_number(world: World) -> None:
    number, _ = world.submit(2, declobber=True)
    for index in range(2):
        assert _out(world, number, announced("same", b"1"), index=index)["error"] is None
    keys = [(row.container, row.key, row.path) for row in world.outputs(number)]
    assert keys == [(n, f"{world.prefix}{n}/same", "same") for n in range(2)]


def test_an_input_of_every_container_is_granted_to_each_and_another_ones_to_none(
    world: World,
) -> None:
    number, _ = world.submit(2)
    with world.database.write() as session:
        shared = InputFile(job_id=number, container=None, position=0, bucket="data", key="db", path="db", size=3, etag="e" * 32)  # fmt: skip
        session.add(shared)
        session.flush()
        mine = shared.id
    for index in range(2):
        answer = world.ask(number, "stage-in", index, inputs=[mine])
        assert [row["id"] for row in answer["inputs"]] == [mine]
    assert "none of this container's" in world.ask(number, "stage-in", 1, inputs=[1])["error"]


def test_two_containers_that_write_one_key_are_told_and_the_first_keeps_it(world: World) -> None:
    number, _ = world.submit(2)
    assert _out(world, number, announced("same", b"1"))["error"] is None
    answer = _out(world, number, announced("same", b"2"), index=1)
    assert (
        f"containers 0 and 1 both write {world.bucket.bucket}/{world.prefix}same" in answer["error"]
    )
    assert "have each write other file names" in answer["error"]
    row = world.outputs(number)[0]
    assert (row.container, row.md5) == (0, b64(b"1"))


def test_an_output_that_is_announced_twice_in_one_letter_is_told_and_blocks_nobody(
    world: World,
) -> None:
    number, _ = world.submit()
    answer = _out(world, number, announced("a", b"1"), announced("a", b"2"))
    assert answer["error"] == "an output was announced twice in one request"
    assert _out(world, number, announced("a", b"1"))["error"] is None


def test_an_output_that_is_announced_again_unchanged_goes_on_with_its_upload(world: World) -> None:
    number, _ = world.submit()
    granted = _out(world, number, announced("big", BIG))["outputs"][0]
    put(granted, BIG, parts=1)
    before = world.outputs(number)[0].upload_id
    again = _out(world, number, announced("big", BIG))["outputs"][0]
    assert world.outputs(number)[0].upload_id == before
    assert f"uploadId={before}" in again["multipart"]["complete"]["url"]
    first = hashlib.md5(BIG[: 5 * MIB]).hexdigest()
    assert again["multipart"]["there"] == [{"number": 1, "size": 5 * MIB, "etag": first}]
    assert granted["multipart"]["there"] == []
    assert len(world.outputs(number)) == 1


def test_an_output_that_changed_gets_a_new_upload_and_the_old_one_is_aborted(world: World) -> None:
    number, _ = world.submit()
    _out(world, number, announced("big", BIG))
    before = world.outputs(number)[0].upload_id
    granted = _out(world, number, announced("big", BIG[::-1]))["outputs"][0]
    row = world.outputs(number)[0]
    assert row.upload_id not in (before, None)
    assert row.md5 == b64(BIG[::-1])
    assert world.bucket.uploads().count(f"{world.prefix}big") == 1
    put(granted, BIG[::-1])
    small = _out(world, number, announced("big", b"small"))["outputs"][0]
    assert small["put"] is not None
    assert world.outputs(number)[0].upload_id is None


def test_an_old_upload_that_cannot_be_aborted_now_is_not_forgotten(world: World) -> None:
    number, _ = world.submit()
    _out(world, number, announced("big", BIG))
    path = world.letter(number, "stage-out", outputs=[announced("big", b"small")])
    world.store.away = True
    world.mailbox.tick()
    assert world.outputs(number)[0].upload_id is not None
    world.store.away = False
    world.clock.forward(5)
    world.mailbox.tick()
    assert path.exists()
    assert f"{world.prefix}big" not in world.bucket.uploads()


def test_an_upload_that_was_aborted_elsewhere_is_begun_anew(world: World) -> None:
    number, _ = world.submit()
    _out(world, number, announced("big", BIG))
    before = world.outputs(number)[0].upload_id or ""
    world.store.abort_upload(world.bucket.bucket, f"{world.prefix}big", before)
    put(_out(world, number, announced("big", BIG))["outputs"][0], BIG)
    assert world.outputs(number)[0].upload_id != before


@pytest.mark.parametrize(("max_requeues", "phase"), [(0, "error"), (3, "created")])
def test_an_upload_that_begins_while_its_container_ends_is_not_left_behind(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    max_requeues: int,
    phase: str,
) -> None:
    world = make_world(max_requeues=max_requeues)
    number, slurm = world.submit()
    begin = world.store.start_upload

    def slowly(bucket: str, key: str, algorithm: Any) -> str:
        upload = begin(bucket, key, algorithm)
        world.slurm.set(slurm, 0, "NODE_FAIL")
        world.settle()
        return upload

    monkeypatch.setattr(world.store, "start_upload", slowly)
    assert _out(world, number, announced("big", BIG))["error"] == "the job has ended"
    assert world.container(number).phase == phase
    assert f"{world.prefix}big" not in world.bucket.uploads()


def test_an_output_of_more_bytes_than_s3_takes_is_told_with_what_to_do(world: World) -> None:
    number, _ = world.submit()
    md5 = b64(b"")
    huge = {"path": "huge", "size": (5 << 40) + 1, "md5": md5, "part_md5s": [md5] * 10_000}
    answer = _out(world, number, huge)
    assert "5497558138881 bytes, and S3 takes 5497558138880 at most" in answer["error"]
    assert world.outputs(number) == []


def test_an_output_of_5_tib_is_granted_in_10_000_parts_of_which_one_letter_has_all(
    world: World,
) -> None:
    number, _ = world.submit()
    md5, part = b64(b""), 525 * MIB
    size = 5 << 40
    count = -(-size // part)
    huge = {"path": "h" * 250, "size": size, "md5": md5, "part_md5s": [md5] * count}
    path = world.letter(number, "stage-out", outputs=[huge])
    before = peak(reset=True)
    world.mailbox.tick()
    grown = peak() - before
    many = json.loads(path.read_text())["outputs"][0]["multipart"]
    assert path.stat().st_size > 6 << 20
    assert grown < 96 << 20, f"{grown >> 20} MiB"
    assert (many["part_size"], len(many["parts"])) == (part, count)
    assert 9_900 < count <= 10_000
    assert (count - 1) * part < size <= count * part
    assert f"partNumber={count}&" in many["parts"][-1]["url"]


@pytest.mark.parametrize("parts", [None, [], ["x"], [b64(b"")] * 3])
def test_a_large_output_without_the_md5_of_each_part_is_refused(
    world: World, parts: list[str] | None
) -> None:
    number, _ = world.submit()
    answer = _out(world, number, announced("big", BIG) | {"part_md5s": parts})
    assert "needs the MD5 of each of its 2 parts" in answer["error"]


def test_a_part_whose_md5_is_none_is_refused(world: World) -> None:
    number, _ = world.submit()
    answer = _out(world, number, announced("big", BIG) | {"part_md5s": ["x", "ü"]})
    assert answer["error"]
    assert answer["outputs"] == []


def test_a_bucket_that_is_gone_is_told_to_the_node(world: World) -> None:
    number, _ = world.submit(output_dir="no-such-bucket-here/x/")
    assert (
        "There is no bucket 'no-such-bucket-here'"
        in _out(world, number, announced("b", BIG))["error"]
    )


def test_ten_thousand_outputs_are_registered_whatever_the_database_takes_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, _ = world.submit()
    with world.database.read() as session:
        keys = [f"k{n}" for n in range(40_000)]
        assert store.output_by_key(session, number, keys) == {}
        assert store.containers(session, range(40_000))[0].job_id == number


def test_a_daemon_that_dies_over_a_new_upload_leaves_none_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, slurm = world.submit()
    key, begin = f"{world.prefix}big", world.store.start_upload
    theirs = begin(world.bucket.bucket, f"{key}-beside", None)

    def killed(bucket: str, key: str, algorithm: Any) -> str:
        begin(bucket, key, algorithm)
        raise SystemExit

    monkeypatch.setattr(world.store, "start_upload", killed)
    world.letter(number, "stage-out", outputs=[announced("big", BIG)])
    with pytest.raises(SystemExit):
        world.mailbox.tick()
    monkeypatch.undo()
    world.restart()
    world.mailbox.tick()  # the letter is still there
    assert world.bucket.uploads().count(key) == 1
    assert len(world.letters()) == 0
    assert world.store.upload_open(
        world.bucket.bucket, key, world.outputs(number)[0].upload_id or ""
    )

    # And if it dies over that, too, and the node with it.
    world.change(world.outputs(number)[0], upload_id="")
    world.slurm.set(slurm, 0, "CANCELLED")
    world.cancel(number)
    world.settle()
    assert world.job(number).phase == "canceled"
    assert key not in world.bucket.uploads()
    world.store.abort_upload(world.bucket.bucket, f"{key}-beside", theirs)


def test_an_upload_that_another_job_has_at_the_same_key_is_not_taken_for_a_lost_one(
    world: World,
) -> None:
    first, _ = world.submit()
    second, slurm = world.submit()
    _out(world, first, announced("big", BIG))
    _out(world, second, announced("big", BIG))
    lost = world.outputs(second)[0]
    world.change(lost, upload_id="")
    world.slurm.set(slurm, 0, "CANCELLED")
    world.cancel(second)
    world.settle()
    assert world.bucket.uploads().count(lost.key) == 1
    mine = world.outputs(first)[0]
    assert world.store.upload_open(mine.bucket, mine.key, mine.upload_id or "")


def test_an_output_that_is_there_is_the_end_of_a_second_upload_of_it(world: World) -> None:
    number, slurm = world.submit()
    put(_out(world, number, announced("big", BIG))["outputs"][0], BIG)
    _out(world, number, announced("big", BIG))  # the answer to the first was lost
    assert world.bucket.uploads().count(f"{world.prefix}big") == 1
    world.result(number, outputs=["big"])
    world.slurm.set(slurm, 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"
    assert f"{world.prefix}big" not in world.bucket.uploads()


def test_an_upload_that_begins_while_its_container_is_settled_makes_the_end_wait_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, slurm = world.submit()
    small = announced("small", b"x")
    put(_out(world, number, small)["outputs"][0], b"x")
    late = world.letter(number, "stage-out", outputs=[announced("big", BIG)])
    world.result(number, outputs=["small"])
    world.slurm.set(slurm, 0, "COMPLETED")
    look = world.store.inspect

    def meanwhile(bucket: str, key: str) -> Any:
        world.mailbox.tick()
        return look(bucket, key)

    monkeypatch.setattr(world.store, "inspect", meanwhile)
    world.settle()
    assert late.exists()
    assert world.job(number).phase == "complete"
    assert f"{world.prefix}big" not in world.bucket.uploads()
