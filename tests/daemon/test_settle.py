"""Settling: a container is complete only when each of its outputs was seen in S3 as it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.agent.crc import CRC32
from tests.daemon.world import MIB, World, announced, put

BIG = b"b" * (5 * MIB + 1)


def _key(world: World, name: str) -> str:
    return f"{world.prefix}{name}"


def test_a_job_is_complete_when_its_outputs_are_in_s3_and_says_how_many(world: World) -> None:
    number, slurm = world.submit(2)
    for index in range(2):
        world.complete(number, slurm, index)
    world.poll()
    job = world.job(number)
    assert (job.phase, job.error, job.reason, job.output_file_count) == ("complete", None, None, 2)
    assert world.phases(number) == ["created", "submitting", "pending", "settling", "complete"]
    assert world.site.clean_wake.is_set()


def test_the_way_of_a_job_is_in_its_history(world: World) -> None:
    number, slurm = world.submit()
    for phase in ("stage-in", "run", "stage-out"):
        world.letter(number, "phase", phase=phase, host="n2")
        world.mailbox.tick()
    world.complete(number, slurm)
    world.letter(number, "result")
    world.mailbox.tick()
    assert world.site.poll_wake.is_set()
    world.poll()
    way = [
        "created",
        "submitting",
        "pending",
        "stage-in",
        "run",
        "stage-out",
        "settling",
        "complete",
    ]
    assert world.phases(number) == way
    assert [phase for phase, _ in world.history(number, 0)] == way[1:]


def test_an_output_that_is_missing_in_s3_fails_the_container(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.bucket.client.delete_object(Bucket=world.bucket.bucket, Key=_key(world, "out-0.txt"))
    world.poll()
    assert world.job(number).phase == "error"
    assert "is not in S3" in (world.job(number).error or "")
    assert world.job(number).output_file_count == 0


@pytest.mark.parametrize("other", [b"DONE", b"done and more", b""])
def test_an_output_that_something_else_wrote_over_fails_the_container(
    world: World, other: bytes
) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.bucket.put(_key(world, "out-0.txt"), other)
    world.poll()
    assert world.job(number).phase == "error"
    assert "in S3 is not what the container wrote" in (world.job(number).error or "")
    assert "something else wrote that key" in (world.job(number).error or "")


def test_an_output_that_the_gateway_may_not_look_at_fails_the_container(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    key = _key(world, "out-0.txt")
    world.bucket.put(key, b"done", StorageClass="GLACIER")
    world.poll()
    assert world.job(number).phase == "error"
    assert "cannot be verified" in (world.job(number).error or "")


def test_an_output_that_was_never_granted_fails_the_container(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.result(number, outputs=["out-0.txt", "smuggled.txt"])
    world.poll()
    assert "'smuggled.txt' was never granted" in (world.job(number).error or "")


def test_a_store_that_is_away_keeps_the_job_waiting_with_the_reason_and_then_it_completes(
    world: World,
) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.store.away = True
    for _ in range(3):
        world.poll(11)
        assert world.job(number).phase == "settling"
        assert "verifying the outputs waits: The object store" in (world.job(number).reason or "")
    world.store.away = False
    world.poll(11)
    assert (world.job(number).phase, world.job(number).reason) == ("complete", None)


def test_a_store_that_is_away_is_asked_once_a_look_and_not_for_each_container(
    world: World,
) -> None:
    number, slurm = world.submit(20)
    for index in range(20):
        world.upload(number, {f"{index}": b"x"}, index)
        world.result(number, index, outputs=[f"{index}"])
        world.slurm.set(slurm, index, "COMPLETED")
    world.store.away = True
    world.poll()
    assert 1 <= len(world.store.looked) <= 16  # those that were under way at the first failure
    assert {c.phase for c in world.containers(number)} == {"settling"}
    world.store.away = False
    world.poll(11)
    assert world.job(number).phase == "complete"


def test_an_object_that_the_store_has_trouble_with_holds_up_no_other_container(
    world: World,
) -> None:
    number, slurm = world.submit(3)
    for index in range(3):
        world.complete(number, slurm, index)
    world.store.broken = {_key(world, "out-0.txt")}
    world.poll()
    world.poll(1)
    assert [c.phase for c in world.containers(number)] == ["settling", "complete", "complete"]
    assert "answered 500" in (world.job(number).reason or "")
    world.store.broken = set()
    world.poll(11)
    assert world.job(number).phase == "complete"


def test_a_job_that_wrote_nothing_fails_and_says_where_to_write(world: World) -> None:
    number, slurm = world.submit()
    world.result(number)
    world.slurm.set(slurm, 0, "COMPLETED")
    world.poll()
    assert world.container(number).phase == "complete"
    assert world.job(number).phase == "error"
    assert "wrote no file to the output directory /out" in (world.job(number).error or "")
    assert "set allow_empty_output" in (world.job(number).error or "")


def test_a_job_may_write_nothing_where_it_said_so(world: World) -> None:
    given = {"params": {"input_mount_point": "/in", "output_mount_point": "/out"}}
    number, slurm = world.submit(job_input=given | {"allow_empty_output": True})
    world.result(number)
    world.slurm.set(slurm, 0, "COMPLETED")
    world.poll()
    assert world.job(number).phase == "complete"
    assert world.job(number).output_file_count == 0


def test_when_some_containers_fail_the_job_names_the_first_and_keeps_the_others_outputs(
    world: World,
) -> None:
    number, slurm = world.submit(3)
    world.complete(number, slurm, 0)
    for index in (1, 2):
        world.result(number, index, "container-failed", exit_code=6 + index)
        world.slurm.set(slurm, index, "FAILED")
    world.poll()
    assert world.job(number).phase != "error"  # the accounting may explain more
    world.poll(20)
    job = world.job(number)
    assert job.phase == "error"
    assert (job.error or "").startswith(
        f"2 of 3 containers failed; the first: container {number}_1 exited with code 7. "
    )
    assert job.output_file_count == 1
    assert [c.exit_code for c in world.containers(number)] == [0, 7, 8]
    assert [c.phase for c in world.containers(number)] == ["complete", "error", "error"]
    assert world.phases(number)[-2:] == ["failing", "error"]


SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"outcome": "container-failed", "exit_code": 137, "signal": 9}, "was killed by signal 9"),
    ({"outcome": "container-failed", "exit_code": 255, "error": "apptainer could not start the container: x"}, "failed: apptainer could not start the container: x"),
    ({"outcome": "container-failed", "exit_code": 137, "signal": 9, "memory_ran_out": True}, "needed more memory than was asked for (OUT_OF_MEMORY)"),
    ({"outcome": "stage-in-failed", "error": "input a is not there any more"}, "failed: input a is not there any more"),
    ({"outcome": "image-failed", "error": "no image"}, "failed: no image"),
    ({"outcome": "stage-out-failed", "exit_code": 0, "error": "no room"}, "failed: no room"),
    ({"outcome": "agent-failed", "error": "the node agent failed"}, "failed: the node agent failed"),
    ({"outcome": "timeout", "exit_code": 143, "error": "the container ran past its runtime of 60 s"}, "ran past its runtime of 60 s; ask for a longer runtime"),
    ({"outcome": "ok", "exit_code": None}, "failed"),
]  # fmt: skip


def test_each_outcome_of_the_agent_has_its_sentence(world: World) -> None:
    jobs = [world.submit() for _ in SENTENCES]
    for (fields, _), (number, slurm) in zip(SENTENCES, jobs, strict=True):
        world.result(number, **fields)
        world.slurm.set(slurm, 0, "FAILED")
    world.settle()
    for (_, said), (number, _) in zip(SENTENCES, jobs, strict=True):
        assert world.job(number).phase == "error"
        assert said in (world.job(number).error or "")


def test_what_slurm_says_goes_before_an_agent_that_was_only_ended(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_requeues=0)
    number, slurm = world.submit()
    world.result(number, outcome="canceled", error="the job was ended during run")
    world.slurm.set(slurm, 0, "PREEMPTED")
    world.settle()
    assert "was preempted by a job of higher priority" in (world.job(number).error or "")


def test_what_was_uploaded_before_the_time_limit_is_kept_and_shown(world: World) -> None:
    number, slurm = world.submit()
    world.upload(number, {"part.txt": b"so far"})
    world.ask(number, "stage-out", outputs=[announced("never.txt", b"x")])
    world.result(number, outcome="timeout", outputs=["part.txt"], error="the limit came")
    world.slurm.set(slurm, 0, "TIMEOUT")
    world.poll()
    assert world.job(number).phase == "error"
    assert world.job(number).output_file_count == 1
    assert [row.path for row in world.outputs(number) if row.verified] == ["part.txt"]


@pytest.mark.parametrize("end", ["failed", "canceled", "other-run"])
def test_an_upload_that_was_not_completed_is_aborted(world: World, end: str) -> None:
    number, slurm = world.submit()
    answer = world.ask(number, "stage-out", outputs=[announced("big", BIG)])
    put(answer["outputs"][0], BIG, parts=1)
    assert _key(world, "big") in world.bucket.uploads()
    if end == "canceled":
        world.cancel(number)
        world.poll()
        world.slurm.set(slurm, 0, "CANCELLED")
    elif end == "failed":
        world.result(number, outcome="stage-out-failed", error="no")
        world.slurm.set(slurm, 0, "FAILED")
    else:
        world.complete(number, slurm)
    world.settle()
    assert world.job(number).phase == {"failed": "error", "canceled": "canceled"}.get(
        end, "complete"
    )
    assert _key(world, "big") not in world.bucket.uploads()


def test_a_canceled_job_waits_for_the_store_to_abort_its_upload(world: World) -> None:
    number, slurm = world.submit()
    world.ask(number, "stage-out", outputs=[announced("big", BIG)])
    world.cancel(number)
    world.slurm.set(slurm, 0, "CANCELLED")
    world.store.away = True
    world.poll()
    assert world.job(number).phase == "canceling"
    world.store.away = False
    world.poll(11)
    assert world.job(number).phase == "canceled"
    assert _key(world, "big") not in world.bucket.uploads()


def test_an_upload_that_may_not_be_aborted_keeps_no_job_from_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.errors import AppCode, GatewayError

    number, slurm = world.submit()
    world.ask(number, "stage-out", outputs=[announced("big", BIG)])

    def denied(bucket: str, key: str, upload: str) -> None:
        raise GatewayError(AppCode.S3_PATH_INACCESSIBLE, "The gateway may not write.")

    monkeypatch.setattr(world.store, "abort_upload", denied)
    world.result(number, outcome="container-failed", exit_code=1)
    world.slurm.set(slurm, 0, "FAILED")
    world.settle()
    assert world.job(number).phase == "error"


def test_a_large_output_is_verified_by_the_etag_of_its_parts(world: World) -> None:
    number, slurm = world.submit()
    world.upload(number, {"big": BIG})
    world.result(number, outputs=["big"])
    world.slurm.set(slurm, 0, "COMPLETED")
    world.poll()
    assert world.job(number).phase == "complete"
    row = world.outputs(number)[0]
    assert (row.size, row.verified) == (len(BIG), True)
    assert (row.etag or "").endswith("-2")


def _end(world: World, written: list[Callable[[int], None]]) -> list[str]:
    """Have a job for each way to write a result; returns the jobs' errors."""
    jobs = []
    for write in written:
        number, slurm = world.submit()
        write(number)
        world.letter(number, "result")
        world.slurm.set(slurm, 0, "COMPLETED")
        jobs.append(number)
    world.mailbox.tick()
    assert world.letters() == []
    world.settle()
    assert {world.job(number).phase for number in jobs} == {"error"}
    return [world.job(number).error or "" for number in jobs]


def test_a_result_that_cannot_be_read_ends_the_container_as_one_without(world: World) -> None:
    texts = [
        "", "[]", "null", "{", '{"version": 2}', "[" * 100_000, "\ufeff{}",
        '{"version": 1, "outcome": "ok", "exit_code": 0, "outputs": [{"path": 7}]}',
    ]  # fmt: skip

    def writing(text: str) -> Callable[[int], None]:
        return lambda number: world.write_result(number, text)

    errors = _end(world, [writing(text) for text in texts])
    assert all("left no result" in error for error in errors)


def test_a_result_with_a_value_that_cannot_be_kept_neither_stops_the_loops_nor_its_job(
    world: World,
) -> None:
    wrong: list[dict[str, object]] = [
        {"host": "n1\ud800"}, {"host": "x" * 300}, {"exit_code": 10**30}, {"signal": -(10**30)},
        {"error": "\ud800"}, {"times": {"run": ["yesterday", None]}}, {"times": {"run": "x"}},
        {"times": {"run": ["2026-11-24T06:00:00", None]}}, {"times": {"lunch": [None, None]}},
        {"outcome": "splendid"}, {"slurm_job_id": None}, {"bytes_in": 10**40},
    ]  # fmt: skip

    def writing(fields: dict[str, Any]) -> Callable[[int], None]:
        return lambda number: world.result(number, **fields)

    errors = _end(world, [writing(fields) for fields in wrong])
    assert all("left no result" in error for error in errors)


def test_an_error_of_a_node_is_kept_in_a_form_that_can_be_stored(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="image-failed", error="a\0b" + "x" * 100_000)
    world.slurm.set(slurm, 0, "FAILED")
    world.settle()
    error = world.container(number).error or ""
    assert error.startswith("failed: a\N{REPLACEMENT CHARACTER}b")
    assert len(error) < 11_000


def test_the_settling_of_many_containers_is_one_transaction(
    world: World,
) -> None:
    number, slurm = world.submit(60)
    for index in range(60):
        world.result(number, index, "container-failed", exit_code=1)
        world.slurm.set(slurm, index, "FAILED")
    world.poll()
    from tests.daemon.counting import writes

    with writes(world.database) as count:
        world.poll(21)
    assert world.job(number).phase == "error"
    assert count.sessions <= 3


def _by_crc(world: World, data: bytes) -> tuple[int, str, dict[str, Any]]:
    """Have a container upload an output in parts whose checksums its node says afterwards; returns the job and that word."""
    number, slurm = world.submit()
    asked = {
        "path": "big",
        "size": len(data),
        "checksum": {"algorithm": "CRC64NVME", "value": None},
    }
    granted = world.ask(number, "stage-out", outputs=[asked])["outputs"][0]
    put(granted, data)
    seen = world.store.inspect(world.bucket.bucket, f"{world.prefix}big")
    return number, slurm, {"path": "big", "etag": seen.etag, "crc64nvme": seen.crc64nvme}


def test_what_a_node_found_as_it_sent_is_compared_with_what_s3_has(world: World) -> None:
    number, slurm, said = _by_crc(world, b"x" * 6 * MIB)
    world.result(number, outputs=[said])
    world.slurm.set(slurm, 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"
    row = world.outputs(number)[0]
    assert (row.verified, row.etag, row.crc64nvme) == (True, said["etag"], said["crc64nvme"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"etag": "0" * 32 + "-2"}, "with ETag"),
        ({"crc64nvme": "AAAAAAAAAAA="}, "instead of AAAAAAAAAAA="),
        ({"etag": ""}, "its node has not said what it wrote"),
    ],
)
def test_an_output_that_is_not_what_its_node_found_fails_the_container(
    world: World, change: dict[str, Any], text: str
) -> None:
    number, slurm, said = _by_crc(world, b"x" * 6 * MIB)
    if "etag" in change and not change["etag"]:
        said["crc64nvme"] = None
    world.result(number, outputs=[said | change])
    world.slurm.set(slurm, 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "error"
    assert text in (world.container(number).error or "")
    assert not world.outputs(number)[0].verified


def test_a_crc32_that_s3_has_is_compared(world: World) -> None:
    number, slurm = world.submit()
    value = CRC32.encode(CRC32.of(b"abc", 0))
    asked = {"path": "a", "size": 3, "checksum": {"algorithm": "CRC32", "value": value}}
    put(world.ask(number, "stage-out", outputs=[asked])["outputs"][0], b"abc")
    seen = world.store.inspect(world.bucket.bucket, f"{world.prefix}a")
    assert seen.crc32 == value
    world.result(number, outputs=[{"path": "a", "etag": seen.etag, "crc32": "AAAAAA=="}])
    world.slurm.set(slurm, 0, "COMPLETED")
    world.settle()
    assert "CRC32 " + value + " instead of AAAAAA==" in (world.container(number).error or "")
