"""What users may do with jobs: their own, and nothing of another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import select

from gateway.errors import AppCode, GatewayError
from gateway.jobs.service import JobService
from gateway.store.tables import Audit
from tests.daemon.counting import writes
from tests.daemon.world import ADA, ALICE, BOB, World


class Counter:
    """The service at a world, with logs in memory; notes which sites it wakes."""

    def __init__(self, world: World) -> None:
        self.woken: list[str] = []
        self.logs: dict[tuple[int, int, str], bytes] = {}
        self.service = JobService(world.database, None, self._read, self.woken.append)  # type: ignore[arg-type]

    def _read(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        data = self.logs.get((job_id, container, stream))
        if data is None:
            return None
        return data[seek : None if length is None else seek + length], len(data)


@pytest.fixture
def counter(world: World) -> Counter:
    """The service as it comes."""
    return Counter(world)


CALLS: dict[str, Callable[[JobService, Any, int], Any]] = {
    "job": lambda s, who, n: s.job(who, n),
    "status": lambda s, who, n: s.status(who, n),
    "exit_codes": lambda s, who, n: s.exit_codes(who, n),
    "containers": lambda s, who, n: s.containers(who, n),
    "container": lambda s, who, n: s.container(who, n, 0),
    "script": lambda s, who, n: s.script(who, n),
    "cancel": lambda s, who, n: s.cancel(who, n),
    "log": lambda s, who, n: s.log(who, n, 0, "stdout", 0, None),
}


@pytest.mark.parametrize("call", CALLS)
def test_bob_finds_of_alices_job_what_he_finds_of_none(
    world: World, counter: Counter, call: str
) -> None:
    number, _ = world.submit()
    counter.logs[number, 0, "stdout"] = b"secret"
    said = []
    for wanted in (number, number + 1, 1 << 70):
        with pytest.raises(GatewayError) as caught:
            CALLS[call](counter.service, BOB, wanted)
        assert caught.value.code is AppCode.NO_SUCH_JOB
        said.append(caught.value.message.replace(str(wanted), "N"))
    assert len(set(said)) == 1
    CALLS[call](counter.service, ALICE, number)
    CALLS[call](counter.service, ADA, number)
    assert world.job(number).cancel_by in (None, "alice")


def test_a_list_has_the_callers_jobs_and_an_admins_whose_are_asked_for(
    world: World, counter: Counter
) -> None:
    mine, his = world.add(), world.add(user="bob")

    def listed(caller: Any, **more: Any) -> list[int]:
        fields: dict[str, Any] = {"cluster": None, "state": None, "after": None, "before": None}
        rows = counter.service.list_jobs(caller, **fields | {"limit": 10} | more)
        return [int(row.id) for row in rows]

    assert listed(ALICE) == [mine]
    assert listed(ALICE, everyone=True) == listed(ALICE, user="bob") == [mine]
    assert listed(ADA) == []
    assert listed(ADA, everyone=True) == [his, mine]
    assert listed(ADA, user="bob") == [his]
    assert listed(ADA, everyone=True, cluster="other") == []
    assert listed(ADA, everyone=True, state="complete") == []
    assert listed(ADA, everyone=True, state="created") == [his, mine]
    assert listed(ADA, everyone=True, state="download_submitted") == []
    updated = world.job(his).updated
    assert listed(ADA, everyone=True, after=updated) == [his]
    assert listed(ADA, everyone=True, before=updated) == [mine]
    assert listed(ADA, everyone=True, limit=1) == [his]


def test_a_list_of_many_jobs_asks_the_database_no_more_than_one_of_few(
    world: World, counter: Counter
) -> None:
    def cost() -> int:
        with writes(world.database) as count:
            counter.service.list_jobs(
                ALICE, cluster=None, state=None, after=None, before=None, limit=1000
            )
        assert count.sessions == 0
        return count.statements

    world.submit(2)
    few = cost()
    for _ in range(20):
        world.submit(2)
    assert cost() == few <= 5


def test_the_containers_of_a_large_job_ask_the_database_no_more_than_those_of_a_small_one(
    world: World, counter: Counter
) -> None:
    costs = []
    for containers in (1, 50):
        number, _ = world.submit(containers)
        with writes(world.database) as count:
            assert len(counter.service.containers(ALICE, number)) == containers
        costs.append(count.statements)
    assert costs[0] == costs[1] <= 5


def test_a_container_shows_slurms_own_number_in_each_array(world: World, counter: Counter) -> None:
    world.slurm.max_array_size = 2
    number, _ = world.submit(3)
    assert [c.slurm_job_id for c in counter.service.containers(ALICE, number)] == [
        "100_0",
        "100_1",
        "101_0",
    ]
    assert counter.service.container(ALICE, number, 2).slurm_job_id == "101_0"
    assert counter.service.job(ALICE, number).slurm_jobs == ["100", "101"]
    assert len(counter.service.script(ALICE, number)) == 2


def test_a_job_is_shown_with_its_inputs_outputs_and_history(world: World, counter: Counter) -> None:
    number, slurm = world.submit(2)
    for index in range(2):
        world.complete(number, slurm, index)
    world.poll()
    job = counter.service.job(ALICE, number)
    assert (job.state, job.phase, job.containers) == ("complete", "complete", {"complete": 2})
    assert [file["file"] for file in job.job_input["input_files"]] == [
        "data/0/0.txt",
        "data/1/0.txt",
    ]
    assert [(out.file, out.size) for out in job.outputs] == [
        (f"{world.bucket.bucket}/{world.prefix}out-{n}.txt", 4) for n in range(2)
    ]
    times = job.transition_times
    assert (times[0].phase, times[-1].state) == ("created", "complete")
    container = counter.service.container(ALICE, number, 1)
    assert (container.id, container.exit_code, container.node) == (f"{number}_1", 0, "n1")
    assert container.times["run"] == ["2026-11-24T06:00:01.000Z", "2026-11-24T06:00:03.500Z"]
    assert [out.file.rpartition("/")[2] for out in container.outputs] == ["out-1.txt"]
    assert counter.service.exit_codes(ALICE, number) == [0, 0]


def test_what_holds_a_whole_site_is_the_reason_of_its_jobs_that_go_on(world: World) -> None:
    service = JobService(world.database, None, None, print, {"dev": "squeue: away"}.get)  # type: ignore[arg-type]
    number = world.add()
    over = world.add(phase="complete")
    said = "the site dev does not answer as it should: squeue: away"
    assert service.status(ALICE, number).reason == said
    assert service.job(ALICE, number).reason == said
    assert service.status(ALICE, over).reason is None


def _audits(world: World) -> list[tuple[str, str, str]]:
    with world.database.read() as session:
        return [(row.user, row.action, row.target) for row in session.exec(select(Audit))]


def test_a_cancel_moves_the_job_and_its_containers_once_and_is_written_down_once(
    world: World, counter: Counter
) -> None:
    number, _ = world.submit(2)
    for _ in range(3):
        counter.service.cancel(ALICE, number)
    counter.service.cancel(ADA, number)
    job = world.job(number)
    assert (job.phase, job.cancel_by) == ("canceling", "alice")
    assert job.cancel_time is not None
    assert world.phases(number) == ["created", "submitting", "pending", "canceling"]
    assert [c.phase for c in world.containers(number)] == ["canceling"] * 2
    assert _audits(world) == [("alice", "job.cancel", str(number))]
    assert counter.woken == ["dev"] * 4


def test_a_job_that_is_canceled_may_be_canceled_again_and_one_that_ended_otherwise_not(
    world: World, counter: Counter
) -> None:
    number = world.add()
    counter.service.cancel(ALICE, number)
    world.poll()
    assert world.job(number).phase == "canceled"
    counter.service.cancel(ALICE, number)
    for phase in ("complete", "error"):
        over = world.add(phase=phase)
        with pytest.raises(GatewayError) as caught:
            counter.service.cancel(ALICE, over)
        assert caught.value.code is AppCode.INVALID_JOB_STATE
        assert f"its state is {phase}" in caught.value.message
        assert world.job(over).cancel_by is None


def test_a_log_is_read_in_slices_and_says_whether_more_may_come(
    world: World, counter: Counter
) -> None:
    number, slurm = world.submit()
    with pytest.raises(GatewayError) as caught:
        counter.service.log(ALICE, number, 0, "stderr", 0, None)
    assert caught.value.code is AppCode.NO_LOGS
    assert "its phase is pending" in caught.value.message
    counter.logs[number, 0, "stderr"] = b"0123456789"
    piece = counter.service.log(ALICE, number, 0, "stderr", 4, 3)
    assert (piece.data, piece.size, piece.final) == (b"456", 10, False)
    world.complete(number, slurm)
    world.poll()
    piece = counter.service.log(ALICE, number, 0, "stderr", 10, None)
    assert (piece.data, piece.size, piece.final) == (b"", 10, True)


def test_a_container_that_is_not_there_is_named(world: World, counter: Counter) -> None:
    number, _ = world.submit(2)
    service = counter.service
    for call in (
        lambda: service.container(ALICE, number, 2),
        lambda: service.log(ALICE, number, 2, "stdout", 0, None),
    ):
        with pytest.raises(GatewayError) as caught:
            call()
        assert caught.value.code is AppCode.NO_SUCH_SUBJOB
        assert caught.value.message == f"Job {number} has no container 2; they count from 0."
