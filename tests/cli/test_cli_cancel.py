"""ctscancel's options that are scancel's."""

from __future__ import annotations

import pytest

from tests.api.gateway_fake import ME, FakeGateway
from tests.cli.run import run


@pytest.fixture
def jobs(fake: FakeGateway) -> FakeGateway:
    """Jobs 1 to 4: one runs, two wait, one has ended."""
    fake.jobs.add(phase="run", name="align", partition="gpu", account="lab", qos="debug")
    fake.jobs.add(phase="pending", name="align", partition="regular", account="lab")
    fake.jobs.add(phase="created", name="sort", partition="regular", reservation="course")
    fake.jobs.add(phase="complete", name="align")
    return fake


def _canceled(fake: FakeGateway) -> list[int]:
    return [number for number, row in fake.jobs.rows.items() if row.phase == "canceling"]


@pytest.mark.parametrize(
    ("argv", "ids"),
    [
        (("-n", "align"), [1, 2]),
        (("--jobname", "align", "-t", "PENDING"), [2]),
        (("-t", "running"), [1]),
        (("-t", "PD,R"), [1, 2, 3]),
        (("-p", "gpu"), [1]),
        (("-A", "lab", "-q", "debug"), [1]),
        (("-R", "course"), [3]),
        (("-M", "mars"), []),
        (("--me",), [1, 2, 3]),
        (("-u", ME), [1, 2, 3]),
        (("-n", "sort", "1", "3"), [3]),
        (("--me", "1,4"), [1]),
        (("-n", "none"), []),
    ],
)
def test_jobs_that_have_not_ended_and_that_fit_all_filters_are_canceled(
    jobs: FakeGateway, argv: tuple[str, ...], ids: list[int]
) -> None:
    done = run(jobs, "ctscancel", *argv)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert _canceled(jobs) == ids


def test_nothing_that_fits_is_said_with_v_alone(jobs: FakeGateway) -> None:
    done = run(jobs, "ctscancel", "-v", "-n", "none")
    assert (done.code, done.err) == (0, "ctscancel: no job that has not ended is like that\n")


def test_without_jobs_and_filters_nothing_is_canceled(jobs: FakeGateway) -> None:
    run(jobs, "ctscancel").refused(2, "name jobs, as in ctscancel 1234")
    run(jobs, "ctscancel", "-v").refused(2, "name jobs")
    assert _canceled(jobs) == []


def test_others_jobs_are_for_admins(jobs: FakeGateway, fake_admin: FakeGateway) -> None:
    run(jobs, "ctscancel", "-u", "bob").refused(3, "(appcode 20000)")
    fake_admin.jobs.add("bob")
    fake_admin.jobs.add("carol")
    assert run(fake_admin, "ctscancel", "-u", "bob").code == 0
    assert _canceled(fake_admin) == [1]


def test_it_asks_for_each_job_when_it_shall(jobs: FakeGateway) -> None:
    done = run(jobs, "ctscancel", "-i", "-v", "--me", text="y\nwhat\nn\nyes\n")
    assert _canceled(jobs) == [1, 3]
    assert "Cancel job_id=1 name=align partition=gpu [y/n]? " in done.err
    assert done.err.count("Cancel job_id=2") == 2
    assert run(jobs, "ctscancel", "-i", "2", text="").code == 0
    assert _canceled(jobs) == [1, 3]


def test_one_that_has_ended_is_no_error_with_q(jobs: FakeGateway) -> None:
    run(jobs, "ctscancel", "4").refused(2, "(appcode 30300)")
    done = run(jobs, "ctscancel", "-Q", "4", "1")
    assert (done.code, done.err) == (0, "")
    assert _canceled(jobs) == [1]
    run(jobs, "ctscancel", "-Q", "99").refused(3, "(appcode 40040)")
    run(jobs, "ctscancel", "-Q", "-v", "1").refused(2, "-Q does not go with -v")


@pytest.mark.parametrize("name", ["1_0", "1_[0-3]", "1_[2,4-6%2]", "1_*", "1_0.run"])
def test_a_container_or_a_range_of_them_is_refused_with_what_can_be_done(
    jobs: FakeGateway, name: str
) -> None:
    run(jobs, "ctscancel", name).refused(2, "whole jobs only: ctscancel 1\n")
    run(jobs, "ctscancel", "-t", "R", name).refused(2, "whole jobs only: ctscancel 1\n")
    assert _canceled(jobs) == []


@pytest.mark.parametrize("argv", [("-s", "TERM"), ("--signal=USR1",), ("-b",), ("--full",)])
def test_signals_are_refused(jobs: FakeGateway, argv: tuple[str, ...]) -> None:
    run(jobs, "ctscancel", *argv, "1").refused(2, "sends no signals to containers")
    assert _canceled(jobs) == []


def test_a_state_or_an_option_that_there_is_not_is_refused(jobs: FakeGateway) -> None:
    run(jobs, "ctscancel", "-t", "SUSPENDED").refused(2, "there is no state 'suspended'")
    run(jobs, "ctscancel", "--me", "-u", "bob").refused(2, "--me does not go with -u")
    assert "--partition" in run(jobs, "ctscancel", "--partion", "x").err
