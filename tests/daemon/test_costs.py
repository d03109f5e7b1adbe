"""What a look costs does not grow with what there is to look at."""

from __future__ import annotations

from tests.daemon.counting import writes
from tests.daemon.world import World


def _cost(world: World) -> tuple[int, int]:
    world.poll(5)
    with writes(world.database) as count:
        world.poll(5)
    return count.sessions, count.statements


def test_a_look_at_many_jobs_costs_slurm_and_the_database_what_one_at_one_job_does(
    world: World,
) -> None:
    world.submit(2)
    world.slurm.calls.clear()
    few = _cost(world)
    assert few[0] == 0
    for _ in range(12):
        world.submit(3)
    world.slurm.calls.clear()
    assert _cost(world) == few
    assert world.slurm.calls == {"queue": 2}
    assert few[1] <= 20


def test_a_look_at_jobs_that_are_missing_costs_one_sacct(world: World) -> None:
    for _ in range(10):
        _, slurm = world.submit(3)
        world.slurm.forget(slurm)
    world.slurm.calls.clear()
    sessions, _ = _cost(world)
    assert world.slurm.calls == {"queue": 2, "accounting": 2}
    assert sessions == 0


def test_the_start_of_hundreds_of_containers_is_one_transaction(world: World) -> None:
    number, slurm = world.submit(300)
    assert _cost(world)[0] == 0
    for task in range(300):
        world.slurm.set(slurm, task, "RUNNING", node="n1")
    with writes(world.database) as count:
        world.poll(5)
    assert count.sessions == 2  # the news, and the reason that holds no longer
    assert world.job(number).phase == "stage-in"
    world.slurm.calls.clear()
    assert _cost(world)[0] == 0
    world.cancel(number)
    with writes(world.database) as count:
        world.poll(5)
    assert count.sessions == 0
    assert world.slurm.calls == {"queue": 3, "cancel": 1}


def test_hundreds_of_containers_that_were_never_submitted_are_canceled_in_one_transaction(
    world: World,
) -> None:
    number = world.add(300)
    world.cancel(number)
    with writes(world.database) as count:
        world.poll(5)
    assert world.job(number).phase == "canceled"
    assert count.sessions == 2  # the containers, and the job


def test_idle_loops_write_nothing(world: World) -> None:
    with writes(world.database) as count:
        for tick in (
            world.submitter.tick,
            world.mailbox.tick,
            world.poller.tick,
            world.cleaner.tick,
        ):
            assert tick() >= 1.0
    assert count.sessions == 0
    assert sum(world.slurm.calls.values()) == 0
