"""Polling: what Slurm's states, and its silence, prove about containers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import SiteError
from gateway.slurm.states import TABLE, Meaning
from tests.daemon.world import World

ENDS = sorted(name for name, row in TABLE.items() if row.meaning is Meaning.ENDED)
OTHERS = sorted(name for name, row in TABLE.items() if row.meaning is not Meaning.ENDED)
REMEDIES = ("submit the job again", "ask for", "see its logs", "not through the gateway", "lost it", "runs on another")  # fmt: skip


def test_each_end_in_slurm_without_a_result_fails_the_job_with_a_sentence_and_a_remedy(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_requeues=0)
    jobs = {state: world.submit() for state in ENDS}
    for state, (_, slurm) in jobs.items():
        world.slurm.set(slurm, 0, state, node="n1")
    world.settle()
    for state, (number, _) in jobs.items():
        job = world.job(number)
        assert job.phase == "error"
        assert f"container {number}_0 " in (job.error or "")
        assert state in (job.error or "")
        assert any(remedy in (job.error or "") for remedy in REMEDIES)
        assert f"Read its logs with: cts logs -c 0 {number}" in (job.error or "")
        container = world.container(number)
        assert (container.slurm_state, container.node) == (state, "n1")


def test_a_container_that_did_its_work_is_complete_however_slurm_calls_its_end(
    world: World,
) -> None:
    jobs = [world.submit() for _ in ENDS]
    for state, (number, slurm) in zip(ENDS, jobs, strict=True):
        world.complete(number, slurm, name=f"{number}.txt")
        world.slurm.set(slurm, 0, state)
    world.poll()
    assert {world.job(number).phase for number, _ in jobs} == {"complete"}


def test_a_state_that_is_no_end_ends_nothing_whatever_the_agent_wrote(world: World) -> None:
    states = [*OTHERS, "MELTED", ""]
    jobs = [world.submit() for _ in states]
    for state, (number, slurm) in zip(states, jobs, strict=True):
        world.slurm.set(slurm, 0, state)
        world.result(number, outcome="container-failed", exit_code=1)
    for _ in range(3):
        world.poll(100)
    assert {world.container(number).ended for number, _ in jobs} == {None}
    assert {world.job(number).phase for number, _ in jobs} == {"pending", "stage-in"}


def test_a_waiting_task_shows_slurms_reason_and_no_longer_when_it_runs(world: World) -> None:
    number, slurm = world.submit()
    world.poll()
    assert world.job(number).reason == "waits behind jobs of higher priority (Priority)"
    world.slurm.set(slurm, 0, "PENDING", reason="Resources")
    world.poll()
    assert world.job(number).reason == "waits for free nodes, CPUs or memory (Resources)"
    world.slurm.set(slurm, 0, "RUNNING", node="n3")
    world.poll()
    assert world.job(number).reason is None
    assert world.job(number).phase == "stage-in"
    assert world.container(number).node == "n3"


def test_a_node_that_slurm_does_not_name_yet_is_none(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "PENDING", node="(Resources)")
    world.poll()
    assert world.container(number).node is None


def test_the_containers_of_each_array_are_found_by_slurms_own_numbers(world: World) -> None:
    world.slurm.max_array_size = 2
    number, _ = world.submit(3)
    world.slurm.set("101", 0, "RUNNING")
    world.poll()
    assert [c.phase for c in world.containers(number)] == ["pending", "pending", "stage-in"]


def test_a_squeue_that_fails_ends_nothing(world: World) -> None:
    number, _ = world.submit()
    world.slurm.away = {"queue"}
    for _ in range(5):
        with pytest.raises(SiteError):
            world.poll(100)
    assert world.job(number).phase == "pending"


def test_a_task_that_is_missing_everywhere_is_told_and_ends_nothing(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.forget(slurm)
    for _ in range(10):
        world.poll(1000)
    assert world.job(number).phase == "pending"
    assert world.job(number).reason == "not in squeue, and the accounting shows no end yet"


def test_a_missing_task_whose_accounting_is_away_ends_nothing(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.forget(slurm)
    world.slurm.away = {"accounting"}
    for _ in range(10):
        world.poll(1000)
    assert world.job(number).phase == "pending"


def test_a_task_that_left_squeue_ends_by_the_accounting(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.slurm.forget(slurm)
    world.slurm.record(slurm, 0, "COMPLETED", node="n4")
    world.poll()
    assert world.job(number).phase == "complete"
    assert world.container(number).node == "n4"


@pytest.mark.parametrize("record", [None, "RUNNING", "PENDING"])
def test_a_task_that_slurm_forgot_ends_by_the_agents_word_after_a_minute(
    world: World, record: str | None
) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    if record is not None:
        world.slurm.record(slurm, 0, record, ended=False)
    world.slurm.forget(slurm)
    world.poll()
    world.poll(59)
    assert world.job(number).phase != "complete"
    world.poll(2)
    assert world.job(number).phase == "complete"


def test_a_task_that_was_missing_for_a_moment_is_not_forgotten(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="container-failed", exit_code=1)
    world.slurm.forget(slurm)
    world.poll()
    world.poll(50)
    world.slurm.set(slurm, 0, "RUNNING")
    world.poll(5)
    world.slurm.forget(slurm)
    world.poll(5)
    world.poll(55)
    assert world.container(number).ended is None


def test_a_failed_container_that_slurm_forgot_has_its_exit_code(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="container-failed", exit_code=7)
    world.slurm.forget(slurm)
    for _ in range(3):
        world.poll(61)
    assert f"container {number}_0 exited with code 7" in (world.job(number).error or "")


def test_where_slurm_keeps_no_accounting_the_agents_word_is_enough_and_silence_an_end(
    world: World,
) -> None:
    world.slurm.keeps_accounting = False
    shown, slurm = world.submit()
    world.result(shown, outcome="container-failed", exit_code=7)
    world.slurm.set(slurm, 0, "FAILED")
    world.poll()
    assert f"container {shown}_0 exited with code 7" in (world.job(shown).error or "")
    jobs = [world.submit(), world.submit()]
    world.result(jobs[0][0], outcome="container-failed", exit_code=3)
    for _, slurm in jobs:
        world.slurm.set(slurm, 0, "RUNNING", node="n1")
        world.poll()
        world.slurm.forget(slurm)
    asked = world.slurm.calls["accounting"]
    world.poll()
    world.poll(61)
    assert f"container {jobs[0][0]}_0 exited with code 3" in (world.job(jobs[0][0]).error or "")
    assert "left no result (FORGOTTEN)" in (world.job(jobs[1][0]).error or "")
    assert world.slurm.calls["accounting"] == asked == 1


def test_a_requeued_task_begins_anew_and_says_so(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "RUNNING", node="n1")
    world.poll()
    world.result(number, outcome="canceled", exit_code=143, signal=15)
    world.letter(number, "result")
    world.mailbox.tick()
    assert world.container(number).exit_code == 143
    world.slurm.set(slurm, 0, "PENDING", reason="BeginTime")
    world.poll()
    assert (world.job(number).reason or "").endswith(
        "was requeued by Slurm (PENDING: waits for the time at which it may begin (BeginTime))"
    )
    assert world.container(number).result is None
    assert world.container(number).exit_code is None
    assert world.container(number).signal is None
    world.slurm.set(slurm, 0, "RUNNING", node="n2")
    world.poll()
    world.complete(number, slurm)
    world.poll()
    assert world.job(number).phase == "complete"


def test_the_result_of_a_run_before_an_unseen_requeue_decides_nothing(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="canceled", exit_code=143)
    world.letter(number, "result")
    world.mailbox.tick()
    world.complete(number, slurm)  # the second run, whose letter has not come
    world.poll()
    assert world.job(number).phase == "complete"


def test_what_an_earlier_run_announced_and_the_last_one_did_not_write_fails_nothing(
    world: World,
) -> None:
    number, slurm = world.submit()
    from tests.daemon.world import announced

    world.ask(number, "stage-out", outputs=[announced("first.txt", b"1")])
    world.complete(number, slurm)
    world.poll()
    assert world.job(number).phase == "complete"
    assert [row.path for row in world.outputs(number) if row.verified] == ["out-0.txt"]


def test_a_result_that_comes_late_is_waited_for(world: World) -> None:
    number, slurm = world.submit()
    for state in ("RUNNING", "COMPLETED"):
        world.slurm.set(slurm, 0, state)
        world.poll()
    world.slurm.record(slurm, 0, "COMPLETED")
    world.poll(15)
    assert world.container(number).ended is None
    world.complete(number, slurm)
    world.poll(1)
    assert world.job(number).phase == "complete"


def test_a_result_that_comes_late_is_waited_for_though_the_accounting_knows_of_a_failure(
    world: World,
) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "FAILED")
    world.slurm.record(slurm, 0, "FAILED")
    world.poll()
    assert world.container(number).ended is None
    world.result(number, outcome="container-failed", exit_code=3)
    world.poll(5)
    assert f"container {number}_0 exited with code 3" in (world.job(number).error or "")


def test_memory_that_ran_out_is_told_when_the_accounting_shows_it_late(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "FAILED")
    world.result(number, outcome="container-failed", exit_code=1)
    world.poll()
    world.slurm.record(slurm, 0, "RUNNING", ended=False, steps=())
    world.poll(5)
    assert world.container(number).ended is None
    world.slurm.record(slurm, 0, "FAILED", steps=[("batch", "FAILED"), ("run", "OUT_OF_MEMORY")])
    world.poll(5)
    error = world.job(number).error or ""
    assert "needed more memory than was asked for (OUT_OF_MEMORY)" in error
    assert "ask for more memory than 100MB" in error


def test_an_accounting_that_is_away_delays_a_failure_by_no_more_than_twenty_seconds(
    world: World,
) -> None:
    number, slurm = world.submit()
    world.slurm.away = {"accounting"}
    world.slurm.set(slurm, 0, "FAILED")
    world.result(number, outcome="container-failed", exit_code=1)
    world.poll()
    world.poll(19)
    assert world.container(number).ended is None
    world.poll(1)
    assert "exited with code 1" in (world.job(number).error or "")


def test_who_cancelled_in_slurm_is_told_as_the_accounting_has_it(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "CANCELLED")
    world.slurm.record(slurm, 0, "CANCELLED by 0")
    world.poll()
    assert world.job(number).phase == "error"
    assert "was cancelled in Slurm (CANCELLED) and not through the gateway, by root" in (
        world.job(number).error or ""
    )


def test_a_mistake_over_one_container_keeps_no_other_back_and_is_told(world: World) -> None:
    bad, slurm = world.submit()
    good, other = world.submit()
    read = world.site.hands.read_file

    def mistaken(path: str, offset: int = 0, length: int = 1 << 20) -> bytes | None:
        if f"/jobs/{bad}/" in path:
            raise RuntimeError("out of order")
        return read(path, offset, length)

    world.site.hands.read_file = mistaken  # type: ignore[method-assign]
    world.slurm.set(slurm, 0, "FAILED")
    world.complete(good, other)
    world.poll()
    assert world.job(good).phase == "complete"
    assert "judging a container failed and is tried again" in (world.job(bad).reason or "")
    assert "RuntimeError: out of order" in (world.job(bad).reason or "")
    world.site.hands.read_file = read  # type: ignore[method-assign]
    world.settle()
    assert world.job(bad).phase == "error"


def test_a_job_that_ends_is_polled_soon_and_one_that_runs_after_the_sites_period(
    world: World,
) -> None:
    assert world.poll() == 30
    _, slurm = world.submit()
    assert 4.5 <= world.poll() <= 5.5
    world.slurm.set(slurm, 0, "COMPLETING")
    waits = [world.poll() for _ in range(20)]
    assert waits[0] < 0.2
    assert waits == sorted(waits)
    assert waits[-1] <= 5


def test_an_accounting_that_is_away_is_asked_less_and_less_often(world: World) -> None:
    _, slurm = world.submit()
    world.slurm.forget(slurm)
    world.slurm.away = {"accounting"}
    for _ in range(100):
        world.poll(1)
    assert 5 <= world.slurm.calls["accounting"] <= 10
