"""Containers that lose their node or are preempted run again, by Slurm or by the gateway, as often as their site says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlmodel import select

from gateway.errors import SiteError
from gateway.jobs.restarts import Restarts
from gateway.store.tables import Transition
from tests.daemon.world import ADA, World

LOST = ["NODE_FAIL", "BOOT_FAIL", "PREEMPTED"]


def _lose(world: World, slurm: str, task: int, state: str) -> None:
    world.slurm.set(slurm, task, state, node="n1")
    world.slurm.record(slurm, task, state, steps=(("batch", "CANCELLED"),))


@pytest.mark.parametrize("state", LOST)
def test_what_slurm_ended_is_run_again_alone_and_the_rest_is_left(world: World, state: str) -> None:
    number, slurm = world.submit(3)
    world.complete(number, slurm, 0)
    world.slurm.set(slurm, 2, "RUNNING", node="n2")
    _lose(world, slurm, 1, state)
    world.settle()
    assert world.container(number, 0).phase == "complete"
    notes = [text or "" for text in _details(world, number)]
    assert any("; run again, 1 of 3 times" in text and state in text for text in notes)
    world.submitter.tick()
    assert [row.containers for row in world.submissions(number)] == [[0, 1, 2], [1]]
    again = world.container(number, 1)
    assert (again.requeued, again.retried, again.slurm_job_id) == (1, 0, "101")
    world.complete(number, slurm, 2)
    world.upload(number, {"x": b"1"}, 1)
    world.result(number, 1, outputs=["x"], submission=1)
    world.slurm.set("101", 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"


@pytest.mark.parametrize("state", LOST)
def test_there_is_an_end_to_it(make_world: Callable[..., World], state: str) -> None:
    world = make_world(max_requeues=2)
    number, slurm = world.submit()
    for at in range(3):
        _lose(world, slurm, 0, state)
        world.settle()
        world.submitter.tick()
        slurm = f"{101 + at}"
    job = world.job(number)
    assert job.phase == "error"
    assert state in (job.error or "")
    assert len(world.slurm.jobs) == 3
    Restarts(world.database, lambda _: None).restart(ADA, number)
    assert world.container(number).requeued == 0


def test_a_container_that_had_failed_by_itself_is_not_run_again_for_its_node(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="container-failed", exit_code=7)
    _lose(world, slurm, 0, "NODE_FAIL")
    world.settle()
    assert "exited with code 7" in (world.job(number).error or "")


@pytest.mark.parametrize("number_of_signal", [9, 15])
def test_a_container_that_slurm_killed_before_its_agent_was_lost_with_its_node(
    make_world: Callable[..., World], number_of_signal: int
) -> None:
    world = make_world(max_requeues=1)
    number, slurm = world.submit()
    killed = {"exit_code": 128 + number_of_signal, "signal": number_of_signal}
    world.result(number, outcome="container-failed", **killed)
    _lose(world, slurm, 0, "NODE_FAIL")
    world.settle()
    world.submitter.tick()
    assert (world.container(number).requeued, world.container(number).retried) == (1, 0)
    world.result(number, outcome="container-failed", submission=1, **killed)
    _lose(world, "101", 0, "NODE_FAIL")
    world.settle()
    assert "lost its compute node (NODE_FAIL)" in (world.job(number).error or "")


def test_a_canceled_job_is_not_run_again(world: World) -> None:
    number, slurm = world.submit()
    world.cancel(number)
    _lose(world, slurm, 0, "PREEMPTED")
    world.settle()
    assert world.job(number).phase == "canceled"
    assert len(world.slurm.jobs) == 1


def _requeue(world: World, slurm: str) -> None:
    world.slurm.set(slurm, 0, "RUNNING", node="n1")
    world.poll()
    world.slurm.set(slurm, 0, "PENDING", reason="BeginTime")
    world.poll()


def test_what_slurm_itself_puts_back_is_counted_and_ended_when_it_is_too_often(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_requeues=2)
    number, slurm = world.submit()
    for _ in range(2):
        _requeue(world, slurm)
    world.poll()
    assert world.container(number).requeued == 2
    assert world.slurm.canceled == []
    world.slurm.away = {"cancel"}
    world.slurm.set(slurm, 0, "RUNNING", node="n1")
    world.poll()
    world.slurm.set(slurm, 0, "PENDING", reason="BeginTime")
    world.poll()
    with pytest.raises(SiteError):
        world.poll()
    assert world.job(number).phase != "error"
    world.slurm.away = set()
    world.settle()
    assert world.slurm.canceled == [f"{slurm}_0"]
    job = world.job(number)
    assert job.phase == "error"
    assert "was put back into Slurm's queue 3 times, and 2 are allowed" in (job.error or "")


def _details(world: World, number: int) -> list[str | None]:
    with world.database.read() as session:
        return list(session.exec(select(Transition.detail).where(Transition.job_id == number)))
