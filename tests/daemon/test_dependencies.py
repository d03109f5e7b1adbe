"""Jobs that wait for other jobs are held by the gateway, say so, and end when their wait is vain."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.store.tables import JobDependency
from tests.daemon.counting import writes
from tests.daemon.world import World


def after(world: World, *others: int, condition: str = "afterok", **fields: Any) -> int:
    """A job that waits for others."""
    number = world.add(**fields)
    with world.database.write() as session:
        for other in others:
            session.add(JobDependency(job_id=number, on_job_id=other, condition=condition))
    return number


def _end(world: World, number: int, phase: str) -> None:
    world.change(world.job(number), phase=phase)


def test_a_job_is_submitted_when_those_it_waits_for_are_complete(world: World) -> None:
    one, two = world.add(), world.add()
    number = after(world, one, two)
    world.submitter.tick()
    assert world.job(number).reason == f"waits for job {one} to complete (and for 1 more job)"
    assert world.submissions(number) == []
    _end(world, one, "complete")
    world.submitter.tick()
    assert world.job(number).reason == f"waits for job {two} to complete"
    assert world.job(number).phase == "created"
    _end(world, two, "complete")
    world.submitter.tick()
    assert world.job(number).reason is None
    assert world.job(number).phase == "pending"


@pytest.mark.parametrize("end", ["complete", "error", "canceled"])
def test_any_end_will_do_where_any_was_asked_for(world: World, end: str) -> None:
    other = world.add()
    number = after(world, other, condition="afterany")
    world.submitter.tick()
    assert world.job(number).reason == f"waits for job {other} to end"
    _end(world, other, end)
    world.submitter.tick()
    assert world.job(number).phase == "pending"


@pytest.mark.parametrize("end", ["error", "canceled"])
def test_a_wait_that_has_become_vain_ends_the_job_and_those_that_wait_for_it(
    world: World, end: str
) -> None:
    other, fine = world.add(), world.add()
    number = after(world, fine, other, containers=2)
    last = after(world, number)
    any_ = after(world, number, condition="afterany")
    _end(world, other, end)
    world.submitter.tick()
    world.submitter.tick()
    job = world.job(number)
    said = f"job {other} had to complete first, and its state is {end}"
    assert (job.phase, job.error) == ("error", f"The job was not run: {said}.")
    assert [c.phase for c in world.containers(number)] == ["error", "error"]
    assert world.container(number).error == f"was not run: {said}"
    assert world.job(last).error == (
        f"The job was not run: job {number} had to complete first, and its state is error."
    )
    assert world.job(any_).phase == "pending"
    assert world.submissions(number) == []
    world.settle()
    assert world.job(number).error == job.error
    assert world.job(number).usage_final


def test_a_job_that_is_gone_can_complete_no_more_and_has_ended(world: World) -> None:
    vain, fine = after(world, 999), after(world, 999, condition="afterany")
    world.submitter.tick()
    assert "job 999 had to complete first, and it is gone" in (world.job(vain).error or "")
    assert world.job(fine).phase == "pending"


def test_a_wait_outlives_a_restart_of_the_daemon(world: World) -> None:
    other = world.add()
    number = after(world, other)
    world.submitter.tick()
    world.restart()
    world.submitter.tick()
    assert world.job(number).phase == "created"
    _end(world, other, "complete")
    world.restart()
    world.submitter.tick()
    assert world.job(number).phase == "pending"


def test_a_job_that_waits_can_be_canceled(world: World) -> None:
    other = world.add()
    number = after(world, other)
    world.submitter.tick()
    world.cancel(number)
    _end(world, other, "error")
    world.submitter.tick()
    world.settle()
    job = world.job(number)
    assert (job.phase, job.cancel_by, job.error) == ("canceled", "alice", None)


def test_many_jobs_that_wait_cost_no_more_than_one(world: World) -> None:
    other = world.add(site="elsewhere")

    def cost() -> tuple[int, int]:
        world.submitter.tick()  # says why
        with writes(world.database) as count:
            world.submitter.tick()
        return count.sessions, count.statements

    after(world, other)
    few = cost()
    for _ in range(20):
        after(world, other)
    assert cost() == few
    assert few[0] == 0
