"""Arrays: the numbers of tasks as sbatch has them, what each task is given, and how many run at one time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.array import MAX_TASKS, parse_array, variables
from gateway.config import SiteSection
from gateway.daemon.jobfiles import _at_once, _slurm_variables
from gateway.daemon.packing import packed
from gateway.errors import GatewayError
from gateway.jobs.model import parse_job_input
from gateway.jobs.plan import make_plan
from gateway.store.tables import Job
from tests.jobs.rules import BASE


@pytest.mark.parametrize(
    ("text", "numbers", "at_once"),
    [
        ("0", (0,), None),
        ("1-4", (1, 2, 3, 4), None),
        ("1,3,5", (1, 3, 5), None),
        ("5,1-2", (1, 2, 5), None),
        ("0-9:4", (0, 4, 8), None),
        ("1-4%2", (1, 2, 3, 4), 2),
        ("3,3", (3,), None),
        ("4000000", (4_000_000,), None),
    ],
)
def test_the_forms_of_sbatch_are_read(
    text: str, numbers: tuple[int, ...], at_once: int | None
) -> None:
    assert parse_array(text) == (numbers, at_once)


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=50), st.none() | st.integers(1, 99))
def test_any_numbers_are_read_again(numbers: set[int], at_once: int | None) -> None:
    text = ",".join(map(str, numbers)) + (f"%{at_once}" if at_once else "")
    assert parse_array(text) == (tuple(sorted(numbers)), at_once)


@given(st.text("0123456789-,:% x\n٣", max_size=20))
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    try:
        found = parse_array(text)
    except ValueError as exc:
        assert str(exc).isprintable()  # noqa: PT017
        return
    assert 1 <= len(found.numbers) <= MAX_TASKS
    assert text.isascii()


@pytest.mark.parametrize("text", ["", "1-", "-1", "a", "2-1", "1-4:0", "1%0", "1%", "1-4%x", "0-1000", "0-9999999", "4000001", "1 2", "[1-2]"])  # fmt: skip
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 0-15|several jobs"):
        parse_array(text)


def test_a_task_has_slurms_variables() -> None:
    assert variables(parse_array("2-8:3"), 1) == {
        "SLURM_ARRAY_TASK_ID": "5",
        "SLURM_ARRAY_TASK_COUNT": "3",
        "SLURM_ARRAY_TASK_MIN": "2",
        "SLURM_ARRAY_TASK_MAX": "8",
        "SLURM_ARRAY_TASK_STEP": "3",
    }
    assert "SLURM_ARRAY_TASK_STEP" not in variables(parse_array("1,2,4"), 0)
    assert variables(parse_array("7"), 0)["SLURM_ARRAY_TASK_STEP"] == "1"


def _asked(**fields: Any) -> dict[str, Any]:
    return {**BASE, **fields}


def test_each_task_gets_all_files_and_its_own_number() -> None:
    plan = make_plan(parse_job_input(_asked(array="1-9:2", script="id")))
    assert [list(each.files) for each in plan.containers] == [[0, 1]] * 5
    numbers = [each.environment["SLURM_ARRAY_TASK_ID"] for each in plan.containers]
    assert numbers == ["1", "3", "5", "7", "9"]
    own = {"environment": {"SLURM_ARRAY_TASK_ID": "mine"}}
    plan = make_plan(parse_job_input(_asked(array="1-2", params=own)))
    assert plan.containers[0].environment["SLURM_ARRAY_TASK_ID"] == "mine"


def test_more_downloads_than_a_job_may_have_are_refused() -> None:
    files = [f"data/{n}" for n in range(101)]
    with pytest.raises(GatewayError, match="101 files for each of 1000 tasks are over 100000"):
        make_plan(parse_job_input(_asked(array="1-1000", input_files=files)))


NOW = datetime(2026, 1, 31, tzinfo=UTC)


def _job(**asked: Any) -> Job:
    return Job(
        id=7,
        user="alice",
        name="x",
        image_name="i",
        site="dev",
        phase="created",
        job_input=asked,
        image={},
        token="t",
        qos="debug",
        num_containers=4,
        cpus=2,
        memory=3 << 20,
        runtime=60,
        created=NOW,
        updated=NOW,
        input_file_count=1,
        input_bytes=1,
        output_dir="results/x/",
    )


def test_a_script_and_a_task_find_slurms_variables_and_other_jobs_none() -> None:
    assert _slurm_variables(_job()) == {}
    found = _slurm_variables(_job(script="id", nodes=2))
    assert found["SLURM_JOB_ID"] == "7"
    assert found["SLURM_JOB_QOS"] == "debug"
    assert found["SLURM_NNODES"] == found["SLURM_JOB_NUM_NODES"] == "2"
    assert (found["SLURM_CPUS_PER_TASK"], found["SLURM_MEM_PER_NODE"]) == ("2", "3")
    assert not {"SLURM_ARRAY_JOB_ID", "SLURM_JOB_ACCOUNT", "SLURM_GPUS_ON_NODE"} & found.keys()
    assert _slurm_variables(_job(array="1-4"))["SLURM_ARRAY_JOB_ID"] == "7"


def test_no_more_tasks_run_at_one_time_than_the_array_says_however_they_share_nodes() -> None:
    section = SiteSection(work_dir="/x", cpus_per_node=16, memory_per_node=16 * 10**9, containers_per_task=8)  # fmt: skip
    assert packed(section, _job(array="1-9")) == 8
    for most, per_task, tasks in ((1, 1, 1), (3, 3, 1), (20, 8, 2)):
        job = _job(array=f"1-99%{most}")
        assert packed(section, job) == per_task
        assert _at_once(job, per_task) == tasks
        assert per_task * tasks <= most
    assert _at_once(_job(array="1-9"), 1) == _at_once(_job(), 1) == 0
