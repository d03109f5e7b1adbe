"""ctsacct: sacct's options, columns and units, for the gateway's jobs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway import wire
from gateway.cli.slurmtime import parse_time
from tests.api.gateway_fake import BEGIN, FakeGateway
from tests.cli.run import run


@pytest.fixture
def acct(fake: FakeGateway) -> Iterator[FakeGateway]:
    """Rows of a job, its container and a phase of that; the user's clock is UTC."""
    fake.info.rows = [
        wire.AcctRow(
            JobID="12", JobName="a|b\x1b[2J", User="alice", Site="dev", State="COMPLETE", ExitCode="0:0", Submit=BEGIN,
            Start=BEGIN, Elapsed=90061.5, ReqMem=2 << 30, MaxRSS=1536, CPUEff=0.456,
        ),
        wire.AcctRow(JobID="12_0", User="alice", State="COMPLETE", Elapsed=90061),
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
        "12       COMPLETE  1-01:01:01",
        "12_0     COMPLETE  1-01:01:01",
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
        ("JobID%5", "   12"), ("JobID%-5,State%5", "12    COMP+"), ("jobid,STATE", "12    COMPLETE"),
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
    names = list(wire.AcctRow.model_fields)
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
    assert asked["states"] == ["stage-in", "run", "stage-out", "complete"]
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
