"""Cancelling: by whom, in which phase, and what is asked of Slurm."""

from __future__ import annotations

import pytest

from tests.daemon.world import World


@pytest.mark.parametrize("by", ["alice", "ada"])
@pytest.mark.parametrize("phase", ["pending", "stage-in", "run", "stage-out", "settling"])
def test_a_job_is_canceled_in_each_phase_and_slurm_is_told(
    world: World, phase: str, by: str
) -> None:
    number, slurm = world.submit(2)
    if phase == "settling":
        world.result(number, 0, "canceled")
        world.letter(number, "result", 0)
        world.result(number, 1, "canceled")
        world.letter(number, "result", 1)
    elif phase != "pending":
        for index in range(2):
            world.letter(number, "phase", index, phase=phase)
    world.mailbox.tick()
    assert world.job(number).phase == phase
    world.slurm.set(slurm, 0, "RUNNING")
    world.cancel(number, by)
    assert world.job(number).phase == "canceling"
    world.poll()
    assert world.slurm.canceled == [slurm]
    assert world.job(number).phase == "canceling"
    for task in range(2):
        world.slurm.set(slurm, task, "CANCELLED")
    world.poll()
    job = world.job(number)
    assert (job.phase, job.error, job.reason, job.cancel_by) == ("canceled", None, None, by)
    assert [c.phase for c in world.containers(number)] == ["canceled"] * 2


def test_slurm_is_asked_to_cancel_once_in_ten_seconds_however_often_is_looked(
    world: World,
) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "COMPLETING")
    world.cancel(number)
    for _ in range(9):
        world.poll(1)
    assert world.slurm.calls["cancel"] == 1
    world.poll(2)
    assert world.slurm.calls["cancel"] == 2


def test_a_scancel_that_fails_is_told_and_holds_up_no_other_job(world: World) -> None:
    bad, _ = world.submit()
    good, slurm = world.submit()
    world.complete(good, slurm)
    world.cancel(bad)
    world.slurm.away = {"cancel"}
    world.poll()
    assert world.job(good).phase == "complete"
    assert "Slurm does not cancel it: cancel: Unable to contact" in (world.job(bad).reason or "")
    world.slurm.away = set()
    world.poll(11)
    assert world.slurm.canceled == ["100"]


def test_a_container_that_ended_well_before_it_could_be_canceled_is_complete(
    world: World,
) -> None:
    number, slurm = world.submit(2)
    world.complete(number, slurm, 0)
    world.cancel(number)
    world.slurm.set(slurm, 1, "CANCELLED")
    world.poll()
    assert [c.phase for c in world.containers(number)] == ["complete", "canceled"]
    assert world.job(number).phase == "canceled"
    assert world.job(number).output_file_count == 1


def test_a_job_whose_containers_all_ended_well_is_complete_though_it_was_canceled(
    world: World,
) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.cancel(number)
    world.poll()
    assert world.job(number).phase == "complete"
    assert world.phases(number)[-2:] == ["canceling", "complete"]


def test_a_canceled_job_that_slurm_knows_no_more_ends_after_a_minute(world: World) -> None:
    number, slurm = world.submit()
    world.cancel(number)
    world.slurm.forget(slurm)
    world.poll()
    world.poll(59)
    assert world.job(number).phase == "canceling"
    world.poll(2)
    assert world.job(number).phase == "canceled"


def test_a_canceled_job_that_was_never_submitted_ends_though_slurm_is_away(world: World) -> None:
    other, _ = world.submit()
    number = world.add()
    world.cancel(number)
    world.slurm.away = {"queue"}
    with pytest.raises(Exception, match="Unable to contact"):
        world.poll()
    assert world.job(number).phase == "canceled"
    assert world.job(other).phase == "pending"
