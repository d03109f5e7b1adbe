"""ctsqueue's options and formats that are squeue's."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli.common import UserError
from gateway.cli.queue_fields import FIELDS, long_format, short_format, sorter
from tests.api.gateway_fake import BEGIN, FakeGateway
from tests.cli.run import run, start


@pytest.fixture
def jobs(fake: FakeGateway) -> FakeGateway:
    """Three jobs: one runs, two wait."""
    fake.jobs.add(
        phase="run", name="align", partition="gpu", qos="debug", account="lab", runtime="PT1H30M", cpus=4, nodes=2,
        memory=3 << 30, gpus=2, constraint="a&b", licenses="cfs,scratch:2", array="5,7", reservation="course",
    )  # fmt: skip
    fake.jobs.add(phase="pending", name="sort", partition="regular", qos="debug", account="dev")
    fake.jobs.add(phase="created", partition="regular", qos="premium", depends_on=[{"job_id": "1", "condition": "afterany"}])  # fmt: skip
    return fake


def _lines(fake: FakeGateway, *argv: str) -> list[str]:
    done = run(fake, "ctsqueue", *argv, env={"TZ": "UTC"})
    assert (done.code, done.err) == (0, ""), done
    return done.out.splitlines()


def _ids(fake: FakeGateway, *argv: str) -> list[str]:
    return [line.strip() for line in _lines(fake, "-h", "-o", "%i", *argv)]


def test_a_format_places_and_cuts_as_squeue_does(jobs: FakeGateway) -> None:
    lines = _lines(jobs, "-o", "%.6i|%.4P %4j<%t>")
    assert lines == [" JOBID|PART NAME<ST>", "     1| gpu alig<R>", "     2|regu sort<PD>", "     3|regu chec<PD>"]  # fmt: skip
    assert _lines(jobs, "-h", "-o", "job %i of %u", "-j", "2")[0].startswith("job 2 of ")


def test_squeues_own_default_formats_are_taken(jobs: FakeGateway) -> None:
    usual = _lines(jobs, "-o", "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R")
    assert (
        usual[0]
        == "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)"
    )
    assert usual[1].split()[:3] == ["1", "gpu", "align"]
    assert usual[1].split()[-2:] == ["4", "n1,n2"]
    for form in ("%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R", "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %R", "%all"):  # fmt: skip
        assert len(_lines(jobs, "-o", form)) == 4


def test_long_names_have_twenty_columns_unless_they_say_otherwise(jobs: FakeGateway) -> None:
    lines = _lines(jobs, "-O", "JobID,name:.8,state:10;,QOS")
    assert lines[0] == "JOBID                   NAMESTATE     ;QOS"
    assert lines[1] == "1                      alignRUNNING   ;debug"
    assert lines[2].endswith("PENDING   ;debug")


def test_every_field_shows_something_of_every_row(jobs: FakeGateway) -> None:
    names = ",".join(each.name for each in FIELDS)
    assert len(_lines(jobs, "-O", names, "-t", "all")) == 4
    assert len(_lines(jobs, "-O", names, "-r")) == 7
    (line,) = _lines(jobs, "-h", "-j", "1", "-o", "%l %L %C %m %b %a %q %f %v %W %E %K %F %Z %o %V")
    assert line == (
        "01:30:00 00:00:00 16 3072M gres/gpu:2 lab debug a&b course cfs,scratch:2 (null) N/A 1 results/x "
        f"ghcr.io/kbase/checksum:1.0 {BEGIN:%Y-%m-%dT%H:%M:%S}"
    )
    assert _lines(jobs, "-h", "-j", "3", "-o", "%E %S %e %N %B") == ["afterany:1 N/A N/A  n/a"]


def test_an_array_is_a_line_for_each_container_with_the_number_of_its_task(
    jobs: FakeGateway,
) -> None:
    assert _lines(jobs, "-h", "-r", "-j", "1", "-o", "%i %K %N %C %D") == ["1_0 5 n1 8 2", "1_1 7 n2 8 2"]  # fmt: skip
    jobs.jobs.rows[1].phases = {0: "complete"}
    assert _lines(jobs, "-h", "-r", "-j", "1", "-o", "%i") == ["1_1"]


@pytest.mark.parametrize(
    ("argv", "ids"),
    [
        (("-p", "gpu"), ["1"]),
        (("--partition=gpu,regular",), ["1", "2", "3"]),
        (("-q", "debug", "-A", "dev"), ["2"]),
        (("-n", "align,sort"), ["1", "2"]),
        (("-n", "checksum"), ["3"]),
        (("-L", "scratch"), ["1"]),
        (("-R", "course"), ["1"]),
        (("-M", "dev"), ["1", "2", "3"]),
        (("-M", "mars"), []),
        (("-w", "n2,n9"), ["1"]),
        (("-t", "PD", "-q", "debug"), ["2"]),
        (("-j", "1,2", "-p", "regular"), ["2"]),
        (("-S", "-i"), ["3", "2", "1"]),
        (("-S", "q,-i"), ["2", "1", "3"]),
        (("-S", "t,-i"), ["3", "2", "1"]),
        (("-S", "name"), ["1", "3", "2"]),
    ],
)  # fmt: skip
def test_jobs_are_narrowed_down_and_sorted(
    jobs: FakeGateway, argv: tuple[str, ...], ids: list[str]
) -> None:
    assert _ids(jobs, *argv) == ids


def test_the_long_form_has_more_columns_and_start_those_that_wait(jobs: FakeGateway) -> None:
    head, first, *_ = _lines(jobs, "-l")
    assert head.split() == [
        "JOBID", "SITE", "PARTITION", "NAME", "USER", "STATE", "TIME", "TIME_LIMIT", "NODES", "CONTAINERS",
        "NODELIST(REASON)",
    ]  # fmt: skip
    assert first.split()[2:4] == ["gpu", "align"]
    jobs.jobs.rows[3].expected = BEGIN + timedelta(hours=1)
    jobs.jobs.rows[2].expected = BEGIN + timedelta(hours=2)
    head, *rows = _lines(jobs, "--start")
    assert "START_TIME" in head
    assert [row.split()[0] for row in rows] == ["3", "2"]
    assert "2026-01-31T13:00:00" in rows[0]


def test_variables_are_below_the_command_line(jobs: FakeGateway) -> None:
    env = {"CTSQUEUE_FORMAT": "%j", "CTSQUEUE_SORT": "-i"}
    assert run(jobs, "ctsqueue", "-h", env=env).out.split() == ["checksum", "sort", "align"]
    assert run(jobs, "ctsqueue", "-h", "-o", "%i", "-S", "i", env=env).out.split() == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-o", "%y"), "%y is not known here; there are %i"),
        (("-o", "%"), "is no format"),
        (("-o", "%.x.i"), "is no format"),
        (("-o", "plain"), "has no field"),
        (("-O", "JobID,Nice"), "'Nice' is not known here; there are JobArrayID"),
        (("-O", ""), "is not known here"),
        (("-S", "P,y"), "'y' is no field"),
        (("--steps",), "No such option"),
    ],
)
def test_what_squeue_has_and_the_gateway_has_not_is_refused_with_what_there_is(
    jobs: FakeGateway, argv: tuple[str, ...], said: str
) -> None:
    done = run(jobs, "ctsqueue", *argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_any_format_is_read_or_refused_in_one_sentence(text: str) -> None:
    for read in (short_format, long_format, sorter):
        try:
            read(text)
        except UserError as exc:
            assert len(str(exc)) < 2000  # noqa: PT017


def test_iterating_goes_on_until_it_is_interrupted(jobs: FakeGateway) -> None:
    with start(jobs, "ctsqueue", "-i", "0.1", "-o", "%i") as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(12)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert seen.count(b"JOBID\n") >= 2
    assert seen[0][:2] == b"20"
    assert time.strptime(seen[0].decode().strip(), "%Y-%m-%d %H:%M:%S")
