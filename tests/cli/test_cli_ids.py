"""Ids: every command that takes one takes every form of it, or says which form it wants."""

from __future__ import annotations

import json

import pytest

from tests.api.gateway_fake import FakeGateway
from tests.cli.run import Done, run

TAKES_ALL = [
    ("cts", "show"), ("cts", "script"), ("cts", "logs"), ("ctsqueue", "-t", "all", "-j"), ("ctsacct", "-j"),
]  # fmt: skip
WHOLE_JOBS = [("cts", "cancel"), ("cts", "wait"), ("ctscancel",)]


@pytest.fixture
def job(fake: FakeGateway) -> FakeGateway:
    """One job, 1, of two containers with logs, in phase run."""
    number = fake.jobs.add(phase="run")
    for container in (0, 1):
        fake.jobs.rows[number].logs[container, "stdout"] = b"hello %d\n" % container
    return fake


@pytest.mark.parametrize("argv", TAKES_ALL, ids=" ".join)
@pytest.mark.parametrize("name", ["1", "1_0", "1_1", "1_0.run"])
def test_a_command_that_shows_takes_jobs_containers_and_phases(
    job: FakeGateway, argv: tuple[str, ...], name: str
) -> None:
    done = run(job, *argv, name)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("argv", WHOLE_JOBS, ids=" ".join)
@pytest.mark.parametrize(("name", "what"), [("1_0", "a container"), ("1_0.run", "a phase")])
def test_a_command_for_whole_jobs_names_the_job_of_a_container_and_does_nothing(
    job: FakeGateway, argv: tuple[str, ...], name: str, what: str
) -> None:
    done = run(job, *argv, name)
    done.refused(2, f"{name} is {what}", f"whole jobs only: {' '.join(argv)} 1\n")
    assert job.jobs.rows[1].phase == "run"


@pytest.mark.parametrize("argv", TAKES_ALL + WHOLE_JOBS, ids=" ".join)
@pytest.mark.parametrize(
    "name",
    [
        "0", "01", "1_", "1_00", "1_0.", "1_0.walk", "1.run", "x", "1 2", "../whoami", "1/../2", "1/cancel", "1?x=1",
        "1#x", "%31", "1%2fcancel", "\u0661", "9" * 30, "1_0/log", "1\n2", "\x1b[2J",
    ],
)  # fmt: skip
def test_what_is_no_id_is_told_so_and_never_becomes_a_path(
    job: FakeGateway, argv: tuple[str, ...], name: str
) -> None:
    job.jobs.calls.clear()
    done = run(job, *argv, name)
    done.refused(3, "(appcode 40040)")
    assert "\x1b" not in done.err
    assert job.jobs.calls == []
    assert job.info.asked == []
    assert job.log.events("api.request") == []


@pytest.mark.parametrize("argv", TAKES_ALL[:-1] + WHOLE_JOBS, ids=" ".join)
def test_a_job_that_is_not_there_or_anothers_is_exit_code_3(
    job: FakeGateway, argv: tuple[str, ...]
) -> None:
    job.jobs.add("somebody")
    for name in ("2", "99"):
        run(job, *argv, name).refused(3, "(appcode 40040)")


@pytest.mark.parametrize(
    "argv", [("cts", "show"), ("cts", "logs"), ("ctsqueue", "-j")], ids=" ".join
)
def test_a_container_that_a_job_has_not_is_exit_code_3(
    job: FakeGateway, argv: tuple[str, ...]
) -> None:
    run(job, *argv, "1_2").refused(3, "no container 2", "(appcode 40050)")


def test_logs_finds_the_container_in_the_id_or_after_c(job: FakeGateway) -> None:
    def out(*argv: str) -> str:
        return run(job, "cts", "logs", *argv).out

    assert out("1") == out("1_0") == out("1_0.run") == out("-c", "0", "1") == "hello 0\n"
    assert out("1_1") == out("-c", "1", "1") == out("-c", "1", "1_0") == "hello 1\n"


@pytest.mark.parametrize("phase", ["stage-in", "stage-out"])
def test_a_phase_that_writes_no_log_names_the_one_that_there_is(
    job: FakeGateway, phase: str
) -> None:
    run(job, "cts", "logs", f"1_1.{phase}").refused(
        2, f"{phase} has no log of its own", "cts logs 1_1"
    )


def test_ctsqueue_shows_a_row_of_a_container_and_of_a_phase_that_is_under_way(
    job: FakeGateway,
) -> None:
    job.jobs.rows[1].phases = {0: "run", 1: "stage-in"}

    def ids(names: str, *more: str) -> list[list[str]]:
        lines = run(job, "ctsqueue", "-h", *more, "-j", names).out.splitlines()
        return [[line.split()[0], line.split()[4], line.split()[-1]] for line in lines]

    assert ids("1_0") == [["1_0", "R", "n1"]]
    assert ids("1_1,1") == [["1", "R", "n1,n2"], ["1_1", "SI", "n2"]]
    assert ids("1_0.run,1_1.run") == [["1_0", "R", "n1"]]
    assert ids("1_0,1_1", "-t", "SI") == [["1_1", "SI", "n2"]]
    (container,) = json.loads(run(job, "ctsqueue", "-j", "1_1", "--json").out)
    assert (container["id"], container["phase"]) == ("1_1", "stage-in")


def test_ctsqueue_shows_what_there_is_and_tells_the_rest(job: FakeGateway) -> None:
    done = run(job, "ctsqueue", "-h", "-j", "99,1,x")
    assert (done.code, done.out.split()[0], len(done.err.splitlines())) == (3, "1", 2)


def test_ctsacct_hands_ids_of_every_form_on(job: FakeGateway) -> None:
    run(job, "ctsacct", "-j", "1, 1_0,1_0.run")
    assert job.info.asked[-1]["refs"] == ["1", "1_0", "1_0.run"]


def test_thousands_of_ids_are_asked_in_parts(job: FakeGateway) -> None:
    names = [str(10**17 + n) for n in range(1000)]
    assert run(job, "ctsacct", "-j", ",".join(names)).code == 0
    assert [name for asked in job.info.asked for name in asked["refs"]] == names


def test_ctscancel_takes_lists_and_says_what_it_does_with_v(job: FakeGateway) -> None:
    job.jobs.add(phase="pending")
    job.jobs.add(phase="complete")
    done: Done = run(job, "ctscancel", "-v", "1, 2", "3")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[:2] == [f"ctscancel: Terminating job {n}" for n in (1, 2)]
    assert "30300" in done.err
    assert [job.jobs.rows[n].phase for n in (1, 2, 3)] == ["canceling", "canceling", "complete"]
    assert run(job, "ctscancel", "1").out == ""
