"""The accounting: rows of jobs, containers and phases, in seconds and bytes, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import wire
from gateway.ids import parse_ref
from gateway.reports import acct
from gateway.store import jobs as store
from tests.daemon.counting import writes
from tests.daemon.world import World


def _rows(world: World, **wanted: Any) -> list[wire.AcctRow]:
    with world.database.read() as session:
        return acct.rows(session, acct.Wanted(**wanted))


def _ids(world: World, **wanted: Any) -> list[str]:
    return [row.JobID for row in _rows(world, **wanted)]


def _ended(world: World, containers: int = 2) -> int:
    number, slurm = world.submit(containers, account="proj", partition="regular", qos="low")
    for index in range(containers):
        world.complete(number, slurm, index, name=f"{number}-{index}")
        steps = [("batch", "COMPLETED"), ("stage-in", "COMPLETED"), ("run", "COMPLETED"), ("stage-out", "COMPLETED")]  # fmt: skip
        world.slurm.record(slurm, index, "COMPLETED", node=f"n{index}", steps=steps)
    world.poll()
    world.poll()
    return number


def test_a_job_is_followed_by_its_containers_and_each_of_them_by_its_phases(world: World) -> None:
    number = _ended(world)
    phases = ("stage-in", "run", "stage-out")
    wanted = [str(number)]
    for index in range(2):
        wanted += [f"{number}_{index}", *(f"{number}_{index}.{phase}" for phase in phases)]
    assert _ids(world) == wanted


def test_the_row_of_a_job_sums_its_containers_up(world: World) -> None:
    number = _ended(world)
    row = _rows(world)[0]
    assert (row.JobID, row.State, row.ExitCode) == (str(number), "COMPLETED", "0:0")
    assert (row.User, row.Account, row.Site) == ("alice", "proj", "dev")
    assert (row.Partition, row.QOS, row.NGPUS) == ("regular", "low", 0)
    assert (row.JobName, row.Image) == ("sum", "ghcr.io/kbase/sum:1.0")
    assert (row.NCPUS, row.ReqMem, row.MaxRSS) == (2, 100 * 10**6, 1 << 20)
    assert row.TotalCPU == 32.0  # 2 containers, 4 steps of 4 s
    assert row.CPUEff == pytest.approx(32 / (2 * 10 * 2))
    assert row.MemEff == pytest.approx((1 << 20) / (100 * 10**6))
    assert (row.NNodes, row.NodeList) == (2, "n0,n1")
    assert (row.Inputs, row.InBytes, row.Outputs, row.OutBytes) == (2, 6, 2, 8)
    assert (row.StageIn, row.StageOut, row.QueueWait, row.Elapsed) == (5.0, 5.0, 0.0, 0.0)
    assert row.SlurmID == "100"
    assert row.End == datetime(2026, 11, 24, 6, tzinfo=UTC)


def test_the_row_of_a_container_has_what_slurm_measured_of_its_task(world: World) -> None:
    number = _ended(world)
    row = next(row for row in _rows(world) if row.JobID == f"{number}_1")
    assert (row.State, row.ExitCode, row.Elapsed, row.NCPUS) == ("COMPLETED", "0:0", 10.0, 2)
    assert (row.TotalCPU, row.CPUEff) == (16.0, 16 / 20)
    assert (row.NodeList, row.NNodes, row.SlurmID) == ("n1", 1, "100_1")
    assert (row.Inputs, row.InBytes, row.Outputs, row.OutBytes) == (1, 3, 1, 4)


def test_the_row_of_a_phase_has_the_agents_times_and_the_steps_measures(world: World) -> None:
    number = _ended(world)
    row = next(row for row in _rows(world) if row.JobID == f"{number}_0.run")
    assert (row.JobName, row.State, row.ExitCode) == ("run", "COMPLETED", "0:0")
    assert row.Start == datetime(2026, 11, 24, 6, 0, 1, tzinfo=UTC)
    assert (row.Elapsed, row.TotalCPU, row.MaxRSS) == (2.5, 4.0, 1 << 20)


def test_a_phase_that_the_agent_could_not_tell_of_has_the_times_of_its_step(world: World) -> None:
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "DEADLINE")
    world.slurm.record(slurm, 0, "DEADLINE", steps=[("run", "CANCELLED")])
    world.settle()
    row = next(row for row in _rows(world) if row.JobID == f"{number}_0.run")
    assert (row.State, row.Elapsed) == ("CANCELLED", 0.0)
    assert row.Start == datetime(2026, 11, 24, 6, tzinfo=UTC)


def test_what_slurm_measured_is_empty_until_its_accounting_knows(world: World) -> None:
    number, slurm = world.submit()
    world.complete(number, slurm)
    world.poll()
    job, container, run = _rows(world)
    assert (job.State, job.Elapsed, job.TotalCPU, job.MaxRSS) == ("COMPLETED", None, None, None)
    assert (container.Elapsed, container.CPUEff, container.QueueWait) == (None, None, None)
    assert (run.Elapsed, run.MaxRSS) == (2.5, None)
    world.slurm.record(slurm, 0, "COMPLETED")
    world.poll()
    assert _rows(world)[0].TotalCPU == 8.0


def test_a_job_that_has_not_begun_shows_no_exit_code_and_no_times(world: World) -> None:
    number = world.add()
    job, container = _rows(world)
    assert (job.JobID, job.State, job.ExitCode) == (str(number), "PENDING", ":0")
    assert (job.Start, job.End, job.SlurmID, job.NodeList) == (None, None, "", "")
    assert (container.ExitCode, container.SlurmID, container.NNodes) == (":0", None, 0)


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        ([(0, None), (7, None), (9, None)], "7:0"),
        ([(0, None), (137, 9), (1, None)], "137:9"),
        ([(0, None), (0, None)], "0:0"),
        ([(0, None), (None, None)], ":0"),
        ([(None, None), (3, None)], "3:0"),
    ],
)
def test_the_exit_code_of_a_job_is_the_first_that_is_not_0(
    world: World, codes: list[tuple[int | None, int | None]], shown: str
) -> None:
    number = world.add(len(codes))
    for row, (code, signal) in zip(world.containers(number), codes, strict=True):
        world.change(row, exit_code=code, signal=signal)
    assert _rows(world)[0].ExitCode == shown


def test_a_container_of_a_second_array_has_slurms_own_number(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_array_size=2)
    number, _ = world.submit(3)
    rows = {row.JobID: row.SlurmID for row in _rows(world)}
    assert rows == {
        str(number): "100,101",
        f"{number}_0": "100_0",
        f"{number}_1": "100_1",
        f"{number}_2": "101_0",
    }


def test_an_output_that_was_not_seen_in_s3_is_not_counted(world: World) -> None:
    number, slurm = world.submit()
    world.upload(number, {"a": b"aa", "b": b"b"})
    world.result(number, outcome="timeout", outputs=["a"])
    world.bucket.client.delete_object(Bucket=world.bucket.bucket, Key=f"{world.prefix}b")
    world.slurm.set(slurm, 0, "TIMEOUT")
    world.poll()
    assert (_rows(world)[0].Outputs, _rows(world)[0].OutBytes) == (1, 2)


def test_only_the_rows_that_are_asked_for_by_their_ids_are_there(world: World) -> None:
    first, second = _ended(world), _ended(world, 1)

    def asked(*names: str) -> list[str]:
        return _ids(world, refs=[parse_ref(name) for name in names])

    assert len(asked(str(first))) == 9
    assert asked(f"{first}_1.run", f"{second}_0.stage-in") == [f"{first}_1.run", f"{second}_0.stage-in"]  # fmt: skip
    assert asked(f"{first}_1")[0] == f"{first}_1"
    assert len(asked(f"{first}_1")) == 4
    assert asked("999") == []
    assert asked(f"{first}_7") == []


def test_an_id_is_no_beginning_of_another(world: World) -> None:
    for _ in range(12):
        world.add()
    assert _ids(world, refs=[parse_ref("1")]) == ["1", "1_0"]


def test_more_ids_may_be_asked_for_than_the_database_takes_parameters(world: World) -> None:
    number = world.add()
    refs = [parse_ref(str(n)) for n in range(1, 40_000)]
    assert _ids(world, refs=refs) == [str(number), f"{number}_0"]


def test_jobs_are_filtered_by_user_state_and_time_and_the_newest_are_shown(world: World) -> None:
    old, his = world.add(phase="complete"), world.add(user="bob", phase="error")
    now = store.now()
    world.change(world.job(old), created=now - timedelta(days=3), updated=now - timedelta(days=2))

    def asked(**wanted: Any) -> list[int]:
        return [int(row.JobID) for row in _rows(world, **wanted) if "_" not in row.JobID]

    assert asked() == [old, his]
    assert asked(user="bob") == [his]
    assert asked(phases=("error", "canceled")) == [his]
    assert asked(phases=("download_submitted",)) == []
    assert asked(start=now - timedelta(days=1)) == [his]
    assert asked(start=now - timedelta(days=2)) == [old, his]
    assert asked(end=now - timedelta(days=1)) == [old]
    assert asked(end=now - timedelta(days=3)) == []
    assert asked(limit=1) == [his]


def test_a_job_that_goes_on_was_there_at_any_time_since_it_was_made(world: World) -> None:
    number = world.add(phase="run")
    world.age(number, days=2)
    assert _ids(world, start=store.now() - timedelta(days=1))[0] == str(number)


def test_the_rows_of_many_jobs_ask_the_database_no_more_than_those_of_one(world: World) -> None:
    costs = []
    for more in (1, 30):
        for _ in range(more):
            world.add(3)
        with writes(world.database) as count:
            _rows(world)
        costs.append(count.statements)
    assert costs[0] == costs[1] <= 6


@pytest.mark.parametrize(
    ("phase", "slurm", "result", "word"),
    [
        ("created", None, {}, "PENDING"), ("submitting", None, {}, "PENDING"), ("pending", "PENDING", {}, "PENDING"),
        ("stage-in", "RUNNING", {}, "RUNNING"), ("run", "RUNNING", {}, "RUNNING"), ("stage-out", "RUNNING", {}, "RUNNING"),
        ("settling", "COMPLETED", {}, "COMPLETING"), ("complete", "COMPLETED", {"outcome": "ok"}, "COMPLETED"),
        ("canceled", "CANCELLED by 7", {"outcome": "canceled"}, "CANCELLED"), ("canceled", None, {}, "CANCELLED"),
        ("error", "FAILED", {"outcome": "container-failed"}, "FAILED"), ("error", "FAILED", {"outcome": "timeout"}, "TIMEOUT"),
        ("error", "TIMEOUT", {}, "TIMEOUT"), ("error", "TIMEOUT", {"outcome": "canceled"}, "TIMEOUT"),
        ("error", "NODE_FAIL", {}, "NODE_FAIL"), ("error", "NODE_FAIL", {"outcome": "agent-failed"}, "NODE_FAIL"),
        ("error", "CANCELLED by 7", {"outcome": "canceled"}, "CANCELLED"), ("error", "PREEMPTED", {}, "PREEMPTED"),
        ("error", "BOOT_FAIL", {}, "BOOT_FAIL"), ("error", "DEADLINE", {}, "DEADLINE"),
        ("error", "OUT_OF_ME+", {}, "OUT_OF_MEMORY"), ("error", "FAILED", {"memory_ran_out": True}, "OUT_OF_MEMORY"),
        ("error", "COMPLETED", {}, "FAILED"), ("error", "FORGOTTEN", {}, "FAILED"), ("error", None, {}, "FAILED"),
        ("error", "COMPLETED", {"outcome": "ok"}, "FAILED"),  # an output was not as it should be
        ("error", "NODE_FAIL", {"outcome": "container-failed", "exit_code": 3}, "FAILED"),
    ],
)  # fmt: skip
def test_states_have_slurms_words(
    world: World, phase: str, slurm: str | None, result: dict[str, Any], word: str
) -> None:
    ends: dict[str, Any] = {"phase": phase} if phase in store.ENDED else {}
    number = world.add(**ends)
    world.change(world.container(number), phase=phase, slurm_state=slurm, result=result)
    job, container = _rows(world)
    assert (container.State, container.Phase) == (word, phase)
    if ends:
        assert (job.State, job.Phase) == (word, phase)
        assert _ids(world, words=(word,)) == [str(number), f"{number}_0"]
        assert _ids(world, words=[each for each in acct.PHASES_OF if each != word]) == []


def test_words_and_phases_are_wanted_beside_each_other_and_the_newest_of_all_jobs(
    world: World,
) -> None:
    numbers = [world.add(phase="error") for _ in range(3)]
    for number, outcome in zip(numbers, ("timeout", "container-failed", "timeout"), strict=True):
        world.change(world.container(number), phase="error", result={"outcome": outcome})
    waits = world.add()

    def asked(**wanted: Any) -> list[int]:
        return [int(row.JobID) for row in _rows(world, **wanted) if "_" not in row.JobID]

    assert asked(words=("TIMEOUT",)) == [numbers[0], numbers[2]]
    assert asked(words=("TIMEOUT",), limit=1) == [numbers[2]]
    assert asked(words=("TIMEOUT",), phases=("created",)) == [numbers[0], numbers[2], waits]
    assert asked(words=("FAILED", "PENDING")) == [numbers[1], waits]
    assert asked(words=("FAILED",), phases=("error",)) == numbers


def test_more_jobs_than_are_looked_up_together_are_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acct, "_BATCH", 2)
    numbers = [world.add(phase="error") for _ in range(5)]
    world.change(world.container(numbers[0]), phase="error", result={"outcome": "timeout"})
    assert [i for i in _ids(world) if "_" not in i] == [str(n) for n in numbers]
    assert _ids(world, words=("TIMEOUT",))[0] == str(numbers[0])
    assert [i for i in _ids(world, limit=3) if "_" not in i] == [str(n) for n in numbers[2:]]


def test_jobs_are_filtered_by_where_they_went_and_by_their_names(world: World) -> None:
    one = world.add(account="proj", partition="debug", qos="low", name="align")
    two = world.add(account="lab", partition="regular")
    world.change(world.job(two), site="other")

    def asked(**wanted: Any) -> list[int]:
        return [int(row.JobID) for row in _rows(world, **wanted) if "_" not in row.JobID]

    assert asked(accounts=("proj",)) == [one]
    assert asked(accounts=("proj", "lab")) == [one, two]
    assert asked(sites=("other",)) == [two]
    assert asked(partitions=("debug",)) == [one]
    assert asked(qos=("low", "high")) == [one]
    assert asked(names=("align",)) == [one]
    assert asked(names=("align",), sites=("other",)) == []


def test_a_job_that_never_got_its_containers_has_a_row(world: World) -> None:
    number = world.add(0, phase="error", unplanned=True)
    (row,) = _rows(world)
    assert (row.JobID, row.State, row.ExitCode) == (str(number), "FAILED", "")
