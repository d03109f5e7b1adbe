"""Where a job stands in Slurm's queue, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.jobs.service import JobService
from gateway.jobs.waits import Wait, in_queue
from gateway.slurm.protocol import TaskState
from gateway.slurm.reasons import TABLE, explain
from tests.daemon.fakes import MOMENT
from tests.daemon.world import ALICE, World


def _task(slurm: str, task: int, priority: int, start: int | None = None) -> TaskState:
    when = None if start is None else MOMENT + timedelta(minutes=start)
    return TaskState(slurm, task, "", "PENDING", "Priority", "", priority, when)


def test_a_job_stands_where_its_first_task_does_by_priority_and_age() -> None:
    found = in_queue(
        [
            (1, _task("9", 0, 50)),
            (1, _task("9", 1, 50, 9)),
            (2, _task("10", 0, 70, 5)),
            (2, _task("10", 1, 70, 3)),
            (3, _task("100", 0, 50)),
            (4, _task("8", 0, 0, 1)),
        ]
    )
    assert found == {
        2: Wait(1, MOMENT + timedelta(minutes=3)),
        1: Wait(3, MOMENT + timedelta(minutes=9)),
        3: Wait(5, None),
        4: Wait(6, None),
    }


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "waits for free nodes, CPUs or memory (Resources)"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "waits for nodes that are down, drained or reserved ("),
        ("Nodes required for job are DOWN, DRAINED or reserved", "waits for nodes that are down"),
        ("launch_failed_requeued_held", "is held until an admin of Slurm releases it"),
        ("QOSMaxJobsPerUserLimit", "a limit on jobs of its QOS for each user is reached"),
        ("QOSMaxCpuPerUserLimit", "a limit on CPUs of its QOS for each user is reached"),
        ("QOSGrpNodeRunMinutes", "a limit on minutes of nodes of its QOS for all jobs of it together"),
        ("QOSMaxGRESPerUser", "a limit on GPUs or the like of its QOS for each user"),
        ("QOSMinCpuNotSatisfied", "asks for less CPUs than its QOS demands"),
        ("QOSMinMemory", "asks for less memory than its QOS demands"),
        ("AssocGrpCpuLimit", "a limit on CPUs of its account for all jobs of it together is reached"),
        ("AssocGrpCPUMinutesLimit", "a limit on minutes of CPUs of its account"),
        ("AssocMaxJobsLimit", "a limit on jobs of its account is reached"),
        ("AssocGrpJobsLimit", "a limit on jobs of its account for all jobs of it together"),
        ("JobHeldAdmin", "was held by an admin of Slurm"),
        ("SomethingNew2030", "waits in Slurm (SomethingNew2030)"),
    ],
)  # fmt: skip
def test_slurms_reasons_are_told_in_words_with_slurms_own_behind_them(
    reason: str, words: str
) -> None:
    said = explain(reason) or ""
    assert words in said
    assert said.endswith(f"({reason.replace('_', ' ')})")


@pytest.mark.parametrize("reason", ["", "None", "(null)", " "])
def test_no_reason_is_none(reason: str) -> None:
    assert explain(reason) is None


def test_each_sentence_of_the_table_is_one_of_words() -> None:
    for code, words in TABLE.items():
        assert words.strip() == words, code
        assert not words.endswith("."), code


def test_a_job_that_waits_in_slurm_says_its_place_and_when_it_is_expected_to_start(
    world: World,
) -> None:
    service = JobService(
        world.database, None, None, lambda _: None, waits=lambda _: world.site.waits  # type: ignore[arg-type]
    )  # fmt: skip
    first, one = world.submit(2)
    second, two = world.submit()
    tag = world.slurm.jobs[two].comment
    world.slurm.tasks[two, 0] = TaskState(two, 0, tag, "PENDING", "Priority", "", 10, MOMENT)
    assert service.status(ALICE, second).queue_position is None
    world.poll()
    status = service.status(ALICE, second)
    assert (status.queue_position, status.expected_start) == (1, MOMENT)
    assert status.reason == "waits behind jobs of higher priority (Priority)"
    assert service.job(ALICE, first).queue_position == 2
    world.slurm.set(two, 0, "RUNNING", node="n1")
    world.poll()
    assert service.status(ALICE, second).queue_position is None
    assert service.job(ALICE, first).queue_position == 1
    world.slurm.set(one, 0, "RUNNING", node="n1")
    world.slurm.set(one, 1, "RUNNING", node="n1")
    world.poll()
    assert world.site.waits == {}
