"""What squeue, sacct, scontrol and sinfo print is read as Slurm means it, and nothing that they print raises.

`recorded/` holds their output on live Slurms 22.05, 24.11 and 26.05, in the formats that the gateway asks for. The other lines are in the
manner of 22.05 and 24.11.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.slurm.parsing import (
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    cpu_seconds,
    memory_bytes,
    parse_config,
    parse_sacct,
    parse_sinfo,
    parse_squeue,
)
from gateway.slurm.protocol import Partition, TaskRecord, TaskState

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def by_task(records: list[TaskRecord]) -> dict[tuple[str, int | None], TaskRecord]:
    return {(record.slurm_job_id, record.task): record for record in records}


def sacct(job_id: str, state: str, **fields: str) -> str:
    values = dict.fromkeys(SACCT_FIELDS, "") | {"JobID": job_id, "State": state} | fields
    return "|".join(values[name] for name in SACCT_FIELDS) + "\n"


class TestSqueue:
    def test_each_line_of_a_live_slurm_becomes_one_task(self) -> None:
        text = recorded("squeue-26.05.txt")
        tasks = parse_squeue(text)
        assert len(tasks) == len(text.splitlines())
        found = {(task.slurm_job_id, task.task): task for task in tasks}
        assert found["63", 0] == TaskState(
            "63",
            0,
            "",
            "RUNNING",
            "None",
            "n1",
            4294901757,
            datetime(2026, 11, 24, 6, 10, 12, tzinfo=UTC),
        )
        assert found["63", 1].state == "RUNNING"
        assert found["43", 0].tag == "cts:dev:28:0:8a13b758f1d64b85"
        assert found["59", 3].state == "TIMEOUT"
        assert found["64", None].reason == "JobHeldUser"
        assert {index for job, index in found if job == "62"} == {0, 1, 2, 4, 5, 6, 7, 8, 9}

    def test_a_comment_may_hold_the_separator(self) -> None:
        found = {(t.slurm_job_id, t.task): t for t in parse_squeue(recorded("squeue-26.05.txt"))}
        assert found["52", 9].tag == "a|b c"

    @pytest.mark.parametrize(
        ("index", "tasks"),
        [
            ("[3-5]", [3, 4, 5]),
            ("0-9%2", list(range(10))),
            ("[1,4-6%3]", [1, 4, 5, 6]),
            ("0-8:4", [0, 4, 8]),
            ("7", [7]),
        ],
    )
    def test_array_tasks_that_share_a_line_are_told_apart(
        self, index: str, tasks: list[int]
    ) -> None:
        found = parse_squeue(f"12|12|{index}|PENDING||7|N/A|Resources|tag\n")
        assert [(t.slurm_job_id, t.task, t.tag) for t in found] == [("12", n, "tag") for n in tasks]

    @pytest.mark.parametrize("index", ["N/A", "", "[0-9999999999]", "1-4000000", "3-5,...", "x"])
    def test_what_names_no_task_stands_for_the_whole_job(self, index: str) -> None:
        (task,) = parse_squeue(f"12|12|{index}|PENDING||7|N/A|Resources|tag\n")
        assert (task.slurm_job_id, task.task) == ("12", None)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "slurm_load_jobs error: Unable to contact",
            "1|1|0|RUNNING|n1|7|N/A|None",
            "a|b|0|R|n|7|s|r|c",
        ],
    )
    def test_a_line_of_another_form_is_left_out(self, line: str) -> None:
        good = "12|12|0|RUNNING|n1|7|2026-11-24T06:00:00|None|tag"
        assert len(parse_squeue(f"{line}\n{good}\n")) == 1

    @given(st.text() | st.from_regex(r"([0-9N/A\[\]%,:|-]{0,9}\|){8}.{0,9}", fullmatch=True))
    def test_no_text_makes_it_raise(self, text: str) -> None:
        for task in parse_squeue(text):
            assert task.slurm_job_id.isdigit()
            assert task.task is None or task.task >= 0


class TestSacct:
    def test_a_run_on_a_live_slurm_comes_with_its_steps(self) -> None:
        record = by_task(parse_sacct(recorded("sacct-26.05.txt")))["42", 0]
        assert (record.state, record.exit_code) == ("FAILED", "137:0")
        assert record.name == "cts-27-0-cd5f31c40f55f8db"
        assert record.comment == "cts:dev:27:0:cd5f31c40f55f8db"
        assert record.submit == datetime(2026, 11, 24, 5, 43, 28, tzinfo=UTC)
        assert record.end == datetime(2026, 11, 24, 5, 43, 30, tzinfo=UTC)
        assert (record.elapsed, record.cpus, record.node) == (2, 1, "n1")
        assert [step.name for step in record.steps] == ["batch", "stage-in", "run"]
        run = record.steps[2]
        assert (run.state, run.exit_code) == ("OUT_OF_MEMORY", "0:125")
        assert (run.cpu_seconds, run.max_rss) == (0.280, 179820 * 1024)

    def test_a_task_that_runs_has_no_end_yet(self) -> None:
        record = by_task(parse_sacct(sacct("61_0", "RUNNING", End="Unknown")))["61", 0]
        assert record.end is None

    def test_each_end_of_a_live_slurm_is_told_apart(self) -> None:
        states = {
            key: record.state
            for key, record in by_task(parse_sacct(recorded("sacct-26.05.txt"))).items()
        }
        assert states["43", 0] == "CANCELLED"
        assert states["47", None] == "FAILED"
        assert states["48", None] == "CANCELLED"
        assert states["64", None] == "CANCELLED by 998"
        assert states["53", 1] == "FAILED"
        assert states["58", None] == "TIMEOUT"
        assert states["59", 3] == "TIMEOUT"

    def test_tasks_that_wait_or_were_cancelled_while_waiting_share_a_line(self) -> None:
        waiting = by_task(parse_sacct(recorded("sacct-26.05-waiting.txt")))
        assert waiting["54", None].state == "PENDING"
        assert {task for job, task in waiting if job == "52"} == set(range(10))
        ended = by_task(parse_sacct(recorded("sacct-26.05.txt")))
        assert {task for job, task in ended if job == "52"} == {0, 1, 2, 5, 6, 7, 8, 9}
        assert {task for job, task in ended if job == "62"} == {0, 1, 2, 4, 5, 6, 7, 8, 9}
        assert ended["62", 7].state == "CANCELLED by 998"
        assert ended["52", 7].end is not None
        assert ended["52", 7].start is None
        assert ended["52", 7].comment == "a|b c"

    def test_a_requeued_task_shows_its_last_run(self) -> None:
        once = by_task(parse_sacct(recorded("sacct-26.05.txt")))["57", 1]
        twice = by_task(parse_sacct(recorded("sacct-26.05-duplicates.txt")))["57", 1]
        assert once == twice
        assert once.state == "COMPLETED"
        assert once.start == datetime(2026, 11, 24, 5, 48, 45, tzinfo=UTC)
        assert [step.name for step in once.steps] == ["batch", "run"]

    def test_a_task_of_its_own_line_is_not_overwritten_by_a_shared_one(self) -> None:
        own, shared = sacct("12_3", "COMPLETED"), sacct("12_[3-4]", "PENDING")
        for text in (own + shared, shared + own):
            states = {task: r.state for (_, task), r in by_task(parse_sacct(text)).items()}
            assert states == {3: "COMPLETED", 4: "PENDING"}

    def test_steps_of_every_kind_belong_to_their_task(self) -> None:
        lines = [
            sacct("12_3", "NODE_FAIL", JobName="cts"),
            *(sacct(f"12_3.{n}", "CANCELLED by 0", JobName=n) for n in ("batch", "extern", "0")),
            sacct("12_3.interactive", "RUNNING", JobName="interactive"),
        ]
        (record,) = parse_sacct("".join(lines))
        assert [s.name for s in record.steps] == ["batch", "extern", "0", "interactive"]
        assert record.steps[0].state == "CANCELLED by 0"

    def test_a_step_without_its_task_is_left_out(self) -> None:
        assert parse_sacct(sacct("12_3.batch", "COMPLETED")) == []

    @pytest.mark.parametrize("time", ["Unknown", "None", "", "N/A", "2026-13-01T00:00:00"])
    def test_a_time_that_is_none_is_missing(self, time: str) -> None:
        (record,) = parse_sacct(sacct("12", "PENDING", Submit=time, Start=time, End=time))
        assert (record.submit, record.start, record.end) == (None, None, None)

    def test_empty_fields_count_as_nothing(self) -> None:
        (record,) = parse_sacct(sacct("12", "") + sacct("12.batch", ""))
        assert (record.elapsed, record.cpus, record.state) == (0, 0, "")
        assert (record.steps[0].cpu_seconds, record.steps[0].max_rss) == (0, None)

    @pytest.mark.parametrize(
        "line",
        [
            "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection",
            sacct("12+0", "RUNNING"),
            sacct("12_[0-4999999]", "PENDING"),
            sacct("12_", "PENDING"),
            "12|COMPLETED|0:0",
        ],
    )
    def test_a_line_of_another_form_is_left_out(self, line: str) -> None:
        assert len(parse_sacct(f"{line}\n{sacct('12_0', 'RUNNING')}")) == 1

    field = st.text(max_size=8) | st.sampled_from(["nan", "inf", "1e9", "9" * 5000, "1.2.3K", "-1"])

    @given(
        st.text()
        | st.builds(
            "12_{}|{}\n12_{}.0|{}".format,
            *[st.sampled_from(["1", "[1-3]", "[9-1]"]), st.lists(field, min_size=12).map("|".join)]
            * 2,
        )
    )
    def test_no_text_makes_it_raise(self, text: str) -> None:
        for record in parse_sacct(text):
            assert record.elapsed >= 0
            assert record.cpus >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:00", 0),
        ("00:00.144", 0.144),
        ("01:02:03", 3723),
        ("1-00:00:01", 86401),
        ("", 0),
        ("INVALID", 0),
        ("Partition_Limit", 0),
    ],
)
def test_cpu_times_are_read_as_seconds(text: str, seconds: float) -> None:
    assert cpu_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512K", 512 * 1024),
        ("1.50G", 1536 * 1024**2),
        ("12M", 12 * 1024**2),
        ("0", 0),
        ("", None),
        ("16?", None),
    ],
)
def test_memory_is_read_as_bytes(text: str, size: int | None) -> None:
    assert memory_bytes(text) == size


@given(st.text())
def test_no_number_makes_them_raise(text: str) -> None:
    assert cpu_seconds(text) >= 0
    assert memory_bytes(text) is None or memory_bytes(text) >= 0  # type: ignore[operator]


def test_the_limits_of_a_live_slurm_are_read() -> None:
    limits = parse_config(recorded("scontrol-config-26.05.txt"))
    assert (limits.max_array_size, limits.version) == (10001, "26.05.5")


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 1001), ("MaxArraySize = x", 1001), ("MaxArraySize = 0", 1), ("MaxArraySize=7", 7)],
)
def test_a_limit_that_is_not_shown_is_slurms_default(text: str, size: int) -> None:
    assert parse_config(text).max_array_size == size


@given(st.text() | st.builds("MaxArraySize = {}".format, st.text()))
def test_no_configuration_makes_it_raise(text: str) -> None:
    assert parse_config(text).max_array_size >= 1


@pytest.mark.parametrize(
    ("shown", "kept"),
    [("accounting_storage/slurmdbd", True), ("(null)", False), ("accounting_storage/none", False)],
)
def test_the_configuration_tells_whether_there_is_an_accounting(shown: str, kept: bool) -> None:
    text = f"AccountingStorageType   = {shown}\nMaxArraySize = 5\n"
    assert parse_config(text).accounting is kept
    assert parse_config("MaxArraySize = 5\n").accounting


def test_the_partitions_of_a_live_slurm_are_read() -> None:
    assert parse_sinfo(recorded("sinfo-26.05.txt")) == [
        Partition("regular", "UP", 2880, 4, True, 1, 2, 1),
        Partition("debug", "UP", 30, 1, False, 1, 0, 0),
        Partition("pDOWN", "DOWN", 90, 2, False, 1, 0, 1),
        Partition("pDRAIN", "DRAIN", 90, 2, False, 1, 0, 1),
        Partition("pINACTIVE", "INACTIVE", 90, 2, False, 1, 0, 1),
        Partition("endless", "UP", None, 4, False, 1, 2, 1),
    ]
    assert parse_sinfo("a|a|inact|n/a|x\n")[0] == Partition("a", "INACTIVE", None, 0, False)


@given(st.text() | st.builds("{0}|{0}*|up|{1}|{1}/1/2/{1}\n".format, st.text(), st.text()))
def test_no_partitions_make_it_raise(text: str) -> None:
    assert all(each.nodes >= 0 for each in parse_sinfo(text))


def test_the_free_text_is_the_last_field() -> None:
    assert SQUEUE_FORMAT.endswith("|%k")
    assert SACCT_FIELDS[-1] == "Comment"


@pytest.mark.parametrize(("version", "release"), [("22.05", "22.05.8"), ("24.11", "24.11.5")])
def test_what_older_slurms_print_is_read_alike(version: str, release: str) -> None:
    tasks = {(t.slurm_job_id, t.task): t for t in parse_squeue(recorded(f"squeue-{version}.txt"))}
    assert {tasks["1", n].state for n in (0, 1, 2)} == {"COMPLETED", "FAILED", "RUNNING"}
    assert tasks["1", 2].tag == "cts:main:7:0:abc"
    assert tasks["1", 2].node == "node0"
    waiting = [n for number, n in tasks if number == "2" and tasks[number, n].state == "PENDING"]
    assert waiting == list(range(1, 10))
    assert (tasks["3", None].reason, tasks["4", 0].reason) == ("JobHeldUser", "BeginTime")

    records = by_task(parse_sacct(recorded(f"sacct-{version}.txt")))
    ended = records["1", 1]
    assert (ended.state, ended.exit_code, ended.comment) == ("FAILED", "7:0", "cts:main:7:0:abc")
    assert [(step.name, step.exit_code) for step in ended.steps] == [
        ("batch", "7:0"),
        ("run", "7:0"),
    ]
    assert records["1", 0].elapsed == 2
    assert records["1", 2].end is None
    assert {n for number, n in records if number == "2"} == set(range(10))

    limits = parse_config(recorded(f"scontrol-config-{version}.txt"))
    assert (limits.max_array_size, limits.version, limits.accounting) == (2001, release, True)
    regular, debug = parse_sinfo(recorded(f"sinfo-{version}.txt"))
    assert (regular.name, regular.default, regular.max_minutes) == ("regular", True, 2880)
    assert (debug.name, debug.default, debug.max_minutes) == ("debug", False, 30)
