"""ctsacct: sacct's options, columns and units, for the gateway's jobs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway import wire
from gateway.cli.acct_fields import NAMES
from gateway.cli.slurmtime import parse_time
from tests.api.gateway_fake import BEGIN, FakeGateway
from tests.cli.run import run


@pytest.fixture
def acct(fake: FakeGateway) -> Iterator[FakeGateway]:
    """Rows of a job, its container and a phase of that; the user's clock is UTC."""
    fake.info.rows = [
        wire.AcctRow(
            JobID="12", JobName="a|b\x1b[2J", User="alice", Site="dev", State="COMPLETED", Phase="complete", ExitCode="0:0", Submit=BEGIN,
            Start=BEGIN, End=BEGIN + timedelta(seconds=90061.5), Elapsed=90061.5, Timelimit=3600, NCPUS=4, Refdata="7",
            ReqMem=2 << 30, MaxRSS=1536, CPUEff=0.456,
        ),
        wire.AcctRow(JobID="12_0", User="alice", State="COMPLETED", Elapsed=90061),
        wire.AcctRow(JobID="12_0.run", JobName="run", State="COMPLETED", Elapsed=59),
    ]  # fmt: skip
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield fake
    os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone)
    time.tzset()


def test_rows_are_aligned_under_titles_and_dashes(acct: FakeGateway) -> None:
    lines = run(acct, "ctsacct", "-o", "JobID,State,Elapsed").out.splitlines()
    assert lines == [
        "JobID    State     Elapsed",
        "-------- --------- ----------",
        "12       COMPLETED 1-01:01:01",
        "12_0     COMPLETED 1-01:01:01",
        "12_0.run COMPLETED 00:00:59",
    ]


def test_the_default_columns_show_every_row(acct: FakeGateway) -> None:
    lines = run(acct, "ctsacct").out.splitlines()
    assert lines[0].split()[:5] == ["JobID", "JobName", "User", "Site", "State"]
    assert len(lines) == 5
    assert "\x1b" not in lines[2]
    assert "1.50K" in lines[2]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        (("-P",), "12|a?b?[2J|2147483648|1536|0.46"), (("-p",), "12|a?b?[2J|2147483648|1536|0.46|"),
        ((), "12    a|b?[2J 2.00G  1.50K  0.46"),
    ],
)  # fmt: skip
def test_parsable_rows_have_bytes_and_no_bar_of_their_own(
    acct: FakeGateway, options: tuple[str, ...], first: str
) -> None:
    done = run(acct, "ctsacct", "-n", "-X", "-o", "JobID,JobName,ReqMem,MaxRSS,CPUEff", *options)
    assert done.out == f"{first}\n"


@pytest.mark.parametrize(
    ("format_", "row"),
    [
        ("JobID%5", "   12"), ("JobID%-5,State%5", "12    COMP+"), ("jobid,STATE", "12    COMPLETED"),
        ("Submit,Start", "2026-01-31T12:00:00 2026-01-31T12:00:00"),
    ],
)  # fmt: skip
def test_fields_take_widths_and_any_case(acct: FakeGateway, format_: str, row: str) -> None:
    assert run(acct, "ctsacct", "-n", "-X", "-o", format_).out == f"{row}\n"


@pytest.mark.parametrize(
    "format_", ["nonsense", "JobID%0", "JobID%x", "", "JobID,,State", "JobID%1000"]
)
def test_a_field_that_there_is_not_is_named_with_those_that_there_are(
    acct: FakeGateway, format_: str
) -> None:
    run(acct, "ctsacct", "-o", format_).refused(2, "-o: there is no field", "MaxRSS")


def test_all_fields_are_shown_with_l_and_listed_with_e(acct: FakeGateway) -> None:
    names = list(NAMES)
    assert run(acct, "ctsacct", "-e").out.split() == names
    for option in (("-l",), ("-o", "ALL")):
        assert run(acct, "ctsacct", "-P", *option).out.splitlines()[0] == "|".join(names)


def test_json_has_the_rows_as_they_are(acct: FakeGateway) -> None:
    found = json.loads(run(acct, "ctsacct", "--json").out)
    assert [row["JobID"] for row in found] == ["12", "12_0", "12_0.run"]
    assert (found[0]["Elapsed"], found[0]["ReqMem"]) == (90061.5, 2 << 30)
    assert len(json.loads(run(acct, "ctsacct", "--json", "-X").out)) == 1


def test_filters_reach_the_gateway(acct: FakeGateway) -> None:
    run(acct, "ctsacct", "-S", "2026-01-31T12:00", "-E", "2026-02-01", "-s", "CD,R")
    asked = acct.info.asked[-1]
    assert (asked["start"], asked["end"]) == (BEGIN, datetime(2026, 2, 1, tzinfo=UTC))
    assert (list(asked["phases"]), asked["words"]) == (
        ["stage-in", "run", "stage-out"],
        ["COMPLETED"],
    )
    run(acct, "ctsacct", "-a").refused(3, "(appcode 20000)")
    run(acct, "ctsacct", "-u", "bob").refused(3, "(appcode 20000)")
    run(acct, "ctsacct", "-S", "soon").refused(2, "-S: 'soon' is no time", "now-2days")
    run(acct, "ctsacct", "-s", "soon").refused(2, "-s: there is no state")


def test_admins_see_everyones_and_anothers(fake_admin: FakeGateway) -> None:
    run(fake_admin, "ctsacct", "-a")
    run(fake_admin, "ctsacct", "-u", "bob,alice")
    assert [(a["everyone"], a["users"]) for a in fake_admin.info.asked] == [
        (True, []), (False, ["bob"]), (False, ["alice"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("-A", "proj,lab"), {"accounts": ["proj", "lab"]}), (("-M", "dev"), {"sites": ["dev"]}),
        (("--site", "dev"), {"sites": ["dev"]}), (("-r", "debug"), {"partitions": ["debug"]}),
        (("-q", "low"), {"qos": ["low"]}), (("--name", "x"), {"names": ["x"]}),
        (("-s", "TO,oom,NF"), {"words": ["TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"], "phases": []}),
        (("-s", "failed,error"), {"words": ["FAILED"], "phases": ["error"]}),
        (("-s", "CA,PR,BF,DL"), {"words": ["CANCELLED", "PREEMPTED", "BOOT_FAIL", "DEADLINE"]}),
        (("-j", "12,20-22"), {"refs": ["12", "20", "21", "22"]}),
        (("-j", "30_[0-1,5], 31_2.run"), {"refs": ["30_0", "30_1", "30_5", "31_2.run"]}),
        (("-j", "30_[0-4:2].run"), {"refs": ["30_0.run", "30_2.run", "30_4.run"]}),
    ],
)  # fmt: skip
def test_each_filter_reaches_the_gateway(
    acct: FakeGateway, options: tuple[str, ...], asked: dict[str, object]
) -> None:
    assert run(acct, "ctsacct", *options).code == 0
    last = acct.info.asked[-1]
    assert {name: last[name] for name in asked} == asked


@pytest.mark.parametrize(
    "jobs", ["30-20", "1-99999", "30_[5-1]", "30_[x]", "30_[", "1_[0-1].nothing", "0-3"]
)
def test_what_is_no_range_of_jobs_is_refused(acct: FakeGateway, jobs: str) -> None:
    run(acct, "ctsacct", "-j", jobs).refused(3)
    assert acct.info.asked == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("-b",), "12 COMPLETED 0:0"), (("-o", "MaxRSS", "--units", "M"), "0.00M"),
        (("-o", "ReqMem", "--units=g"), "2.00G"), (("-o", "ReqMem", "-P", "--units=M"), "2048.00M"),
        (("-o", "ReqMem", "--noconvert"), "2147483648"),
        (("-o", "JobID,JobName", "--csv"), '12,a|b?[2J'), (("-o", "JobID,State", "-P", "--delimiter=;"), "12;COMPLETED"),
        (("-o", "JobID,State", "-p", "--delimiter=::"), "12::COMPLETED::"),
        (("-o", "ElapsedRaw,NCPUS,AllocCPUS,CPUTime,CPUTimeRAW"), "90061 4 4 4-04:04:06 360246"),
        (("-o", "Timelimit,TimelimitRaw,Refdata,Phase"), "01:00:00 60 7 complete"),
        (("-o", "Start,End,Elapsed", "-T", "-S", "2026-01-31T12:30", "-E", "2026-01-31T13:00"),
         "2026-01-31T12:30:00 2026-01-31T13:00:00 00:30:00"),
        (("-o", "Start,End", "-T"), "2026-01-31T12:00:00 2026-02-01T13:01:01"),
    ],
)  # fmt: skip
def test_each_way_to_show_a_row(acct: FakeGateway, options: tuple[str, ...], line: str) -> None:
    done = run(acct, "ctsacct", "-n", "-X", *options)
    assert " ".join(done.out.split()) == line


def test_csv_is_quoted_and_has_its_titles(acct: FakeGateway) -> None:
    acct.info.rows[0] = acct.info.rows[0].model_copy(update={"JobName": 'a "b", c'})
    done = run(acct, "ctsacct", "-X", "--csv", "-o", "JobID,JobName,ReqMem")
    assert done.out.splitlines() == ["JobID,JobName,ReqMem", '12,"a ""b"", c",2147483648']


def test_the_usual_format_can_stand_in_the_environment(
    acct: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSACCT_FORMAT", "JobID,State%5")
    assert run(acct, "ctsacct", "-n", "-X").out == "12    COMP+\n"
    assert run(acct, "ctsacct", "-n", "-X", "-o", "JobID").out.strip() == "12"


@pytest.mark.parametrize("unit", ["X", "MB", ""])
def test_a_unit_is_one_of_slurms_letters(acct: FakeGateway, unit: str) -> None:
    run(acct, "ctsacct", "--units", unit).refused(2, "--units", "K, M, G, T, P")


NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time_"),
    [
        ("now", NOW), ("now-2days", NOW - timedelta(days=2)), ("now+1hour", NOW + timedelta(hours=1)),
        ("now-60", NOW - timedelta(seconds=60)), ("NOW-1Week", NOW - timedelta(weeks=1)),
        ("midnight", datetime(2026, 3, 4, tzinfo=UTC)), ("today", datetime(2026, 3, 4, tzinfo=UTC)),
        ("noon", datetime(2026, 3, 4, 12, tzinfo=UTC)), ("tomorrow", datetime(2026, 3, 5, tzinfo=UTC)),
        ("yesterday", datetime(2026, 3, 3, tzinfo=UTC)), ("14:30", datetime(2026, 3, 4, 14, 30, tzinfo=UTC)),
        ("2:30PM", datetime(2026, 3, 4, 14, 30, tzinfo=UTC)), ("12:00 am", datetime(2026, 3, 4, tzinfo=UTC)),
        ("0131", datetime(2026, 1, 31, tzinfo=UTC)), ("013125", datetime(2025, 1, 31, tzinfo=UTC)),
        ("1/31", datetime(2026, 1, 31, tzinfo=UTC)), ("01.31.25-06:07:08", datetime(2025, 1, 31, 6, 7, 8, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)), ("2026-01-31T12:00:01", datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times_are_slurms(text: str, time_: datetime) -> None:
    assert parse_time(text, NOW, lambda naive: naive.replace(tzinfo=UTC)) == time_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "now-",
        "now-2fortnights",
        "25:00",
        "13:00PM",
        "2026-02-30",
        "2026-01-31 12:00",
        "1/31T12:00",
        "now-999999999weeks",
    ],
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_time(text, NOW, lambda naive: naive.replace(tzinfo=UTC))
