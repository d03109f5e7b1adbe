"""ctsqueue: what squeue would show, for the gateway's jobs."""

from __future__ import annotations

import json

import pytest

from tests.api.gateway_fake import ME, FakeGateway
from tests.cli.run import run

PHASES = {
    "created": "PD", "submitting": "PD", "pending": "PD", "stage-in": "SI", "run": "R", "stage-out": "SO",
    "settling": "CG", "failing": "CG", "canceling": "CG", "complete": "CD", "error": "F", "canceled": "CA",
}  # fmt: skip


@pytest.fixture
def jobs(fake: FakeGateway) -> FakeGateway:
    """A job in each phase, ids 1 to 12."""
    for phase in PHASES:
        fake.jobs.add(phase=phase)
    return fake


def _ids(fake: FakeGateway, *argv: str) -> list[int]:
    done = run(fake, "ctsqueue", "-h", *argv)
    assert (done.code, done.err) == (0, ""), done
    return [int(line.split()[0]) for line in done.out.splitlines()]


def test_all_that_have_not_ended_are_listed_by_id_with_their_letters(jobs: FakeGateway) -> None:
    lines = run(jobs, "ctsqueue").out.splitlines()
    assert lines[0].split() == [
        "JOBID", "SITE", "NAME", "USER", "ST", "TIME", "CONTAINERS", "NODELIST(REASON)",
    ]  # fmt: skip
    live = list(PHASES)[:9]
    assert [(line.split()[0], line.split()[4]) for line in lines[1:]] == [
        (str(n), PHASES[phase]) for n, phase in enumerate(live, 1)
    ]
    assert lines[5].split()[1:4] == ["dev", "checksum", ME]
    assert lines[5].split()[6:] == ["2", "n1,n2"]


@pytest.mark.parametrize(
    ("states", "ids"),
    [
        ("PD", [1, 2, 3]), ("pending", [1, 2, 3]), ("R", [4, 5, 6]), ("running", [4, 5, 6]), ("run", [4, 5, 6]),
        ("SI", [4]), ("stage-in", [4]), ("CG", [7, 8, 9]), ("completing", [7, 8, 9]), ("CD", [10]), ("completed", [10]),
        ("F", [11]), ("failed", [11]), ("CA", [12]), ("cancelled", [12]), ("canceled", [12]),
        ("job_submitted", [3, 4, 5]), ("pd, f", [1, 2, 3, 11]), ("all", list(range(1, 13))),
    ],
)  # fmt: skip
def test_states_are_slurms_words_letters_phases_or_those_of_the_wire(
    jobs: FakeGateway, states: str, ids: list[int]
) -> None:
    if states == "run":
        ids = [5]
    assert _ids(jobs, "-t", states) == ids


@pytest.mark.parametrize("states", ["", "nonsense", "PD,,R", "PD nonsense"])
def test_a_state_that_there_is_not_is_named_with_those_that_there_are(
    jobs: FakeGateway, states: str
) -> None:
    run(jobs, "ctsqueue", "-t", states).refused(2, "-t: there is no state", "PD, R, CG")


def test_a_job_that_waits_tells_the_reason(fake: FakeGateway) -> None:
    job = fake.jobs.add(name="mine")
    fake.jobs.rows[job].to("pending", reason="Priority")
    (line,) = run(fake, "ctsqueue", "-h").out.splitlines()
    assert line.split() == ["1", "dev", "mine", ME, "PD", "00:00:00", "2", "(Priority)"]


def test_json_is_the_list_of_previews(jobs: FakeGateway) -> None:
    found = json.loads(run(jobs, "ctsqueue", "--json").out)
    assert [job["id"] for job in found] == [str(n) for n in range(1, 10)]


def test_others_jobs_are_for_admins(fake: FakeGateway, fake_admin: FakeGateway) -> None:
    for argv in (("-a",), ("-u", "bob"), ("-u", f"{ME},bob")):
        run(fake, "ctsqueue", *argv).refused(3, "(appcode 20000)")
    for user in (ME, "alice", "bob"):
        fake_admin.jobs.add(user)
    assert _ids(fake_admin) == _ids(fake_admin, "--me") == _ids(fake_admin, "-u", ME) == [1]
    assert _ids(fake_admin, "-a") == [1, 2, 3]
    assert _ids(fake_admin, "-u", f"bob, {ME}") == [1, 3]
    run(fake_admin, "ctsqueue", "--me", "-a").refused(2, "--me does not go with")


def test_many_ended_jobs_push_no_live_one_out(fake: FakeGateway) -> None:
    live = fake.jobs.add(phase="pending")
    for _ in range(1001):
        fake.jobs.add(phase="complete")
    assert _ids(fake) == [live]
    done = run(fake, "ctsqueue", "-h", "-t", "CD")
    assert len(done.out.splitlines()) == 1000
    assert done.err == "warning: only the newest 1000 jobs in state complete are shown\n"


def test_no_jobs_are_a_line_of_titles_or_nothing(fake: FakeGateway) -> None:
    assert len(run(fake, "ctsqueue").out.splitlines()) == 1
    assert run(fake, "ctsqueue", "-h").out == ""
    assert run(fake, "ctsqueue", "--json").out == "[]\n"
