"""slurmrestd's documents, as recorded: what they say is what squeue and sacct said at that moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.slurm import restread
from gateway.slurm.parsing import parse_sacct, parse_squeue
from gateway.slurm.protocol import Limits, Partition, StepRecord, TaskRecord, TaskState

RECORDED = Path(__file__).parent / "recorded"
T = TypeVar("T", TaskState, TaskRecord)
VERSIONS = ["v0.0.42", "v0.0.45"]


def recorded(name: str, version: str = "v0.0.45") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"rest-{name}-{version}.json").read_text())
    return found


def by_task(tasks: Iterable[T]) -> list[T]:
    return sorted(tasks, key=lambda task: (task.slurm_job_id, task.task or 0))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_queue_is_what_squeue_shows_array_tasks_that_wait_together_included(
    version: str,
) -> None:
    found = restread.read_queue(recorded("jobs", version), "ctsjob")
    shown = parse_squeue((RECORDED / "rest-squeue.txt").read_text())
    assert by_task(found) == by_task(shown)
    assert len(found) == 12


def test_jobs_of_other_users_are_left_out() -> None:
    assert restread.read_queue(recorded("jobs"), "alice") == []


def comparable(record: TaskRecord) -> TaskRecord:
    """Without what the two write in another manner: milliseconds, who canceled (number, name), no node yet."""

    def step(each: StepRecord) -> StepRecord:
        return replace(each, cpu_seconds=round(each.cpu_seconds, 2))

    return replace(
        record,
        state=record.state.replace("998", "ctsjob"),
        steps=tuple(step(each) for each in record.steps),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_accounting_is_what_sacct_shows_steps_included(version: str) -> None:
    found = restread.read_accounting(recorded("records", version))
    shown = parse_sacct((RECORDED / "rest-sacct.txt").read_text())
    begun = [each for each in shown if each.slurm_job_id == "33"]
    assert by_task(map(comparable, found)) == by_task(map(comparable, begun))
    assert len(found) == 6


def test_array_tasks_that_never_began_have_a_record_each() -> None:
    found = restread.read_accounting(recorded("waiting"))
    assert [(each.task, each.state, each.start) for each in found] == [
        (task, "PENDING", None) for task in range(6)
    ]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (["RUNNING"], "RUNNING"),
        (["CANCELLED", "COMPLETING"], "COMPLETING"),
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"], "REQUEUE_HOLD"),
        (["RUNNING", "CONFIGURING", "POWER_UP_NODE"], "CONFIGURING"),
        ([], ""),
        ("RUNNING", ""),
    ],
)
def test_of_a_state_and_its_flags_the_word_of_squeue_is_taken(state: object, word: str) -> None:
    document = {"jobs": [{"job_id": 7, "user_name": "ctsjob", "job_state": state}]}
    assert [task.state for task in restread.read_queue(document, "ctsjob")] == [word]


def test_partitions_and_limits_are_read() -> None:
    assert restread.read_partitions(recorded("partitions")) == [
        Partition("regular", "UP", 2880, 4, True),
        Partition("debug", "UP", 30, 1, False),
    ]
    assert restread.read_limits(recorded("conf")) == Limits(10001, "26.05.5")
    assert restread.read_limits({"meta": {}, "jobs": [3]}) is None


def test_only_the_jobs_and_tasks_that_are_asked_for_are_shown() -> None:
    whole = restread.only_jobs(recorded("jobs"), ["34"])["jobs"]
    assert [job["array_job_id"]["number"] for job in whole] == [34]
    (task,) = restread.only_jobs(recorded("jobs"), ["33_1"])["jobs"]
    assert task["array_task_id"]["number"] == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"jobs": None},
        {"jobs": "many"},
        {"jobs": [3, None, {}]},
        {"jobs": [{"job_id": True, "user_name": "ctsjob"}]},
        {"jobs": [{"user_name": "ctsjob", "array_job_id": {"set": True, "number": "x"}}]},
    ],
)
def test_nonsense_is_left_out_and_makes_nothing_raise(nonsense: dict[str, Any]) -> None:
    assert restread.read_queue(nonsense, "ctsjob") == []
    assert restread.read_accounting(nonsense) == []
    assert restread.read_partitions(nonsense) == []
    assert restread.read_limits(nonsense) is None


def test_a_time_that_no_calendar_has_counts_as_none() -> None:
    job = {"job_id": 7, "user_name": "ctsjob", "start_time": {"set": True, "number": 10**18}}
    (task,) = restread.read_queue({"jobs": [job]}, "ctsjob")
    assert task.start is None
