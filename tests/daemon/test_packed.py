"""Several containers of a job in one array task: how they are cut, and how each gets its own end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.daemon.packing import plan
from tests.daemon.fakes import step
from tests.daemon.world import World


@pytest.mark.parametrize(
    ("count", "per_task", "most", "cut"),
    [
        (24, 3, 3, [(9, 3), (9, 3), (6, 3)]),
        (5, 4, 10, [(5, 3)]),  # three and two, not four and one
        (10, 1, 4, [(4, 1), (4, 1), (2, 1)]),
        (1, 4, 10, [(1, 1)]),
        (0, 4, 10, []),
    ],
)
def test_containers_are_cut_into_arrays_of_evenly_filled_tasks(
    count: int, per_task: int, most: int, cut: list[tuple[int, int]]
) -> None:
    parts = plan(range(count), per_task, most)
    assert [(len(part.containers), part.per_task) for part in parts] == cut
    assert [n for part in parts for n in part.containers] == list(range(count))


def test_a_task_asks_for_what_all_of_its_containers_need_and_no_more_than_fits(
    make_world: Callable[..., World],
) -> None:
    world = make_world(containers_per_task=3, cpus_per_node=4, memory_per_node=4 * 10**9)
    number, _ = world.submit(6, cpus=1, memory=100 << 20)
    script = world.submissions(number)[0].script or ""
    assert "#SBATCH --array=0-1\n" in script
    assert "#SBATCH --ntasks=3\n" in script
    assert f"#SBATCH --mem={3 * (100 + 256)}M\n" in script
    number, _ = world.submit(4, cpus=2)  # two of these fill a node
    assert "#SBATCH --ntasks=2\n" in (world.submissions(number)[0].script or "")
    number, _ = world.submit(2, cpus=4)
    assert "#SBATCH --ntasks=1\n" in (world.submissions(number)[0].script or "")


def test_a_site_may_have_smaller_arrays_than_slurm(make_world: Callable[..., World]) -> None:
    world = make_world(max_array_size=2, containers_per_task=2)
    number, _ = world.submit(9)
    assert [s.containers for s in world.submissions(number)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8],
    ]


def test_each_container_of_a_task_gets_its_own_end_and_its_own_steps(
    make_world: Callable[..., World],
) -> None:
    world = make_world(containers_per_task=3, memory_per_node=4 * 10**9)
    number, slurm = world.submit(3)
    world.slurm.tasks = {k: t for k, t in world.slurm.tasks.items() if k == (slurm, 0)}
    world.upload(number, {"a": b"1"}, 0)
    world.result(number, 0, outputs=["a"])
    world.result(number, 1, "container-failed", exit_code=137, signal=9)
    world.result(number, 2, "container-failed", exit_code=3)
    world.slurm.set(slurm, 0, "OUT_OF_MEMORY", node="n1")
    world.slurm.record(slurm, 0, "OUT_OF_MEMORY")
    record = world.slurm.records[slurm, 0]
    steps = (
        replace(step("run", "COMPLETED", rss=1 << 20), name="run-0"),
        replace(step("run", "OUT_OF_MEMORY", rss=2 << 20), name="run-1"),
        replace(step("run", "FAILED", rss=3 << 20), name="run-2"),
        step("batch", "OUT_OF_MEMORY"),
    )
    world.slurm.records[slurm, 0] = replace(record, steps=steps, cpus=3)
    world.settle()
    first, second, third = world.containers(number)
    assert first.phase == "complete"
    assert "OUT_OF_MEMORY" in (second.error or "")
    assert third.error == "exited with code 3"
    assert {c.slurm_job_id for c in (first, second, third)} == {slurm}
    assert {c.task for c in (first, second, third)} == {0}
    world.poll()
    usage = [c.usage or {} for c in world.containers(number)]
    assert [u["max_rss"] for u in usage] == [1 << 20, 2 << 20, 3 << 20]
    assert [[s["name"] for s in u["steps"]] for u in usage] == [["run"]] * 3
    assert [u["cpus"] for u in usage] == [1, 1, 1]
    assert world.job(number).cpu_hours == pytest.approx(3 * 10 / 3600)  # the task's, once


def test_a_packed_task_that_is_requeued_begins_anew_with_all_its_containers(
    make_world: Callable[..., World],
) -> None:
    world = make_world(containers_per_task=2)
    number, slurm = world.submit(2)
    world.result(number, 0, "container-failed", exit_code=3)
    world.letter(number, "result", 0, submission=0)
    world.mailbox.tick()
    world.slurm.set(slurm, 0, "PENDING", reason="BeginTime")
    world.change(world.container(number), slurm_state="RUNNING")
    world.poll()
    assert [c.result for c in world.containers(number)] == [None, None]
