"""Usage: what the accounting measured, whenever it comes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.daemon.usage import usage_of
from gateway.slurm.protocol import TaskRecord
from tests.daemon.counting import writes
from tests.daemon.fakes import MOMENT, step
from tests.daemon.world import World


def _ended(world: World, containers: int = 1, **fields: Any) -> tuple[int, str]:
    number, slurm = world.submit(containers, **fields)
    for index in range(containers):
        world.complete(number, slurm, index, name=f"{number}-{index}")
    world.poll()
    assert world.job(number).phase == "complete"
    return number, slurm


def test_the_usage_of_a_task_is_in_seconds_bytes_and_utc() -> None:
    steps = (
        step("batch", "COMPLETED", cpu=1.0),
        step("stage-in", "COMPLETED", cpu=0.5),
        step("run", "COMPLETED", cpu=8.0, rss=3 << 20),
        step("run", "FAILED", cpu=2.0, rss=5 << 20),
    )
    record = TaskRecord("7", 0, "n", "c", "COMPLETED", "0:0", MOMENT, MOMENT, MOMENT, 10.0, 2, "n1", steps)  # fmt: skip
    usage = usage_of(record)
    assert (usage["elapsed"], usage["cpus"], usage["cpu_seconds"]) == (10.0, 2, 11.5)
    assert usage["max_rss"] == 5 << 20
    assert usage["start"] == "2026-11-24T06:00:00+00:00"
    assert [each["name"] for each in usage["steps"]] == ["stage-in", "run", "run"]


def test_a_job_has_its_usage_when_the_accounting_knows_all_of_its_tasks(world: World) -> None:
    number, slurm = _ended(world, 2)
    assert world.job(number).cpu_hours is None
    world.slurm.record(slurm, 0, "COMPLETED")
    world.poll()
    assert not world.job(number).usage_final
    world.slurm.record(slurm, 1, "COMPLETED")
    world.poll()
    job = world.job(number)
    assert job.usage_final
    assert job.cpu_hours == pytest.approx(2 * 10 * 2 / 3600)  # tasks, seconds, CPUs
    assert job.cpu_factor == pytest.approx(16 / 40)
    assert job.max_memory == 1 << 20
    assert [(c.usage or {})["node"] for c in world.containers(number)] == ["n1", "n1"]


def test_the_tasks_of_a_second_array_are_found_by_slurms_own_numbers(world: World) -> None:
    world.slurm.max_array_size = 1
    number = world.add(2)
    world.submitter.tick()
    for index, slurm in enumerate(("100", "101")):
        world.upload(number, {f"{index}": b"x"}, index)
        world.result(number, index, outputs=[f"{index}"])
        world.slurm.set(slurm, 0, "COMPLETED")
        world.slurm.record(slurm, 0, "COMPLETED", node=f"n{index}")
    world.poll()
    world.poll()
    assert [(c.usage or {})["node"] for c in world.containers(number)] == ["n0", "n1"]


def test_an_accounting_that_lacks_a_task_for_ten_minutes_leaves_what_is_known(world: World) -> None:
    number, slurm = _ended(world, 2)
    world.slurm.record(slurm, 0, "COMPLETED")
    world.age(number, minutes=11)
    world.poll()
    job = world.job(number)
    assert job.usage_final
    assert job.cpu_hours == pytest.approx(10 * 2 / 3600)
    assert world.container(number, 1).usage is None


def test_an_accounting_that_is_away_for_hours_loses_no_usage(world: World) -> None:
    number, slurm = _ended(world)
    world.slurm.away = {"accounting"}
    world.age(number, hours=5)
    world.poll(60)
    world.poll(60)
    assert not world.job(number).usage_final
    world.slurm.away = set()
    world.slurm.record(slurm, 0, "COMPLETED")
    world.poll(60)
    assert world.job(number).cpu_hours == pytest.approx(20 / 3600)


def test_a_task_that_still_runs_in_the_accounting_is_waited_for(world: World) -> None:
    number, slurm = _ended(world)
    world.slurm.record(slurm, 0, "RUNNING", ended=False)
    world.poll()
    assert not world.job(number).usage_final


def test_after_a_day_the_accounting_is_asked_for_a_job_no_more(world: World) -> None:
    number, _ = _ended(world)
    world.age(number, days=1, minutes=1)
    asked = world.slurm.calls["accounting"]
    assert world.poll() == 30
    assert world.slurm.calls["accounting"] == asked


def test_a_job_that_slurm_never_got_has_used_nothing(world: World) -> None:
    number = world.add()
    world.cancel(number)
    world.poll()
    world.poll()
    job = world.job(number)
    assert (job.cpu_hours, job.cpu_factor, job.max_memory) == (0.0, None, None)


def test_the_usage_of_many_jobs_is_one_transaction(world: World) -> None:
    jobs = [_ended(world) for _ in range(4)]
    for _, slurm in jobs:
        world.slurm.record(slurm, 0, "COMPLETED")
    with writes(world.database) as count:
        world.poll()
    assert count.sessions == 1
    assert all(world.job(number).usage_final for number, _ in jobs)
