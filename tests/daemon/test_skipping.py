"""Containers that were done before are not run again where their outputs are all there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.daemon.skipping import Skipper
from gateway.errors import AppCode, GatewayError
from gateway.jobs import views
from gateway.jobs.service import JobService
from gateway.s3.client import S3UnavailableError
from gateway.store.tables import JobDependency
from tests.daemon.world import ALICE, World


def _done(world: World, containers: int = 3, **fields: Any) -> int:
    """A job that is complete, each of its containers with one output in S3."""
    number, slurm = world.submit(containers, **fields)
    _mark(world, number)
    for index in range(containers):
        world.complete(number, slurm, index)
    world.settle()
    assert world.job(number).phase == "complete"
    return number


def _mark(world: World, number: int) -> None:
    for row in world.containers(number):
        world.change(row, fingerprint=f"{world.job(number).user}-{row.index}")


def _again(world: World, containers: int = 3, **fields: Any) -> int:
    """A job that asks for the same."""
    number = world.add(containers, skip_check=True, **fields)
    _mark(world, number)
    return number


def _look(world: World) -> None:
    Skipper(world.database, world.store, world.site).tick()


def test_a_job_of_which_all_was_done_is_complete_without_slurm(world: World) -> None:
    first = _done(world)
    number = _again(world)
    world.submitter.tick()
    assert world.submissions(number) == []  # nothing before it was looked
    _look(world)
    world.submitter.tick()
    world.settle()
    job = world.job(number)
    assert (job.phase, job.output_file_count) == ("complete", 3)
    assert world.submissions(number) == []
    with world.database.read() as session:
        found = views.containers(session, number)
    assert [c.reason for c in found] == [f"skipped: done by {first}_{n}" for n in range(3)]
    assert [c.exit_code for c in found] == [0, 0, 0]
    assert [len(c.outputs) for c in found] == [1, 1, 1]
    mine, theirs = world.outputs(number), world.outputs(first)
    assert [(r.key, r.etag, r.size) for r in mine] == [(r.key, r.etag, r.size) for r in theirs]
    world.settle()
    assert world.job(number).usage_final


@pytest.mark.parametrize("change", ["gone", "other bytes", "another mark", "failed"])
def test_a_container_whose_outputs_are_not_all_there_is_run(world: World, change: str) -> None:
    first = _done(world)
    row = world.outputs(first)[1]
    if change == "gone":
        world.store.store("").client.delete_object(Bucket=row.bucket, Key=row.key)
    elif change == "other bytes":
        world.bucket.put(row.key, b"gone")  # as many
    elif change == "another mark":
        world.change(world.container(first, 1), fingerprint="x")
    else:
        world.change(world.container(first, 1), phase="error")
    number = _again(world)
    _look(world)
    assert [c.phase for c in world.containers(number)] == ["complete", "created", "complete"]
    world.submitter.tick()
    assert [c.phase for c in world.containers(number)] == ["complete", "pending", "complete"]
    (job,) = [job for job in world.slurm.jobs.values() if f"-{number}-" in job.name]
    assert job.tasks == 1


def test_a_job_that_does_not_ask_for_it_is_run(world: World) -> None:
    _done(world, 1)
    number = world.add(1)
    _mark(world, number)
    _look(world)
    world.submitter.tick()
    assert world.job(number).phase == "pending"


def test_nothing_done_before_is_found_at_once(world: World) -> None:
    number = _again(world)
    _look(world)
    world.submitter.tick()
    assert [c.phase for c in world.containers(number)] == ["pending"] * 3


def test_what_was_skipped_itself_serves_the_next(world: World) -> None:
    _done(world, 1)
    second = _again(world, 1)
    _look(world)
    world.settle()
    third = _again(world, 1)
    _look(world)
    assert world.container(third).skipped == f"{second}_0"


def test_what_a_dependency_does_is_looked_for_when_it_has_ended(world: World) -> None:
    first, slurm = world.submit(1)
    _mark(world, first)
    number = _again(world, 1)
    with world.database.write() as session:
        session.add(JobDependency(job_id=number, on_job_id=first, condition="afterok"))
    _look(world)
    world.submitter.tick()
    assert world.job(number).reason == f"waits for job {first} to complete"
    world.complete(first, slurm)
    world.settle()
    _look(world)
    world.settle()
    assert world.container(number).skipped == f"{first}_0"
    assert world.job(number).phase == "complete"


def test_a_store_that_is_away_is_no_proof_and_the_job_says_why_it_waits(world: World) -> None:
    _done(world, 1)
    number = _again(world, 1)
    world.store.away = True
    with pytest.raises(S3UnavailableError):
        _look(world)
    world.submitter.tick()
    job = world.job(number)
    assert job.phase == "created"
    assert "looking for containers that were done before waits: The object store" in (
        job.reason or ""
    )
    world.store.heal()
    _look(world)
    assert world.job(number).reason is None
    assert world.container(number).phase == "complete"


def test_a_canceled_job_is_not_looked_at(world: World) -> None:
    _done(world, 1)
    number = _again(world, 1)
    world.cancel(number)
    _look(world)
    world.settle()
    assert world.job(number).phase == "canceled"


def test_the_logs_of_a_skipped_container_are_those_of_the_one_that_ran(world: World) -> None:
    first = _done(world, 1)
    number = _again(world, 1)
    _look(world)
    service = JobService(world.database, None, lambda *_: None, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(GatewayError, match=f"cts logs {first}_0") as caught:
        service.log(ALICE, number, 0, "stdout", 0, None)
    assert caught.value.code is AppCode.NO_LOGS
