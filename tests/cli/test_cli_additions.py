"""Labels, sharing, idempotency keys and explained waits on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.jobs.filters import Narrow
from gateway.jobs.parts import Sharing
from tests.api.gateway_fake import JOB, FakeGateway
from tests.cli.run import run

BATCH = ("ctsbatch", "--image", "x:1", "--input", "data/a", "--output", "results/x")


def _sent(fake: FakeGateway) -> dict[str, Any]:
    sent: dict[str, Any] = fake.jobs.calls[-1][1]
    return sent


def test_labels_of_the_command_line_join_those_of_the_file(fake: FakeGateway) -> None:
    job = json.dumps(JOB | {"labels": {"a": "1", "b": "2"}})
    run(fake, "cts", "submit", "-", "--label", "b=3", "--label", "c=x=y", text=job)
    assert _sent(fake)["labels"] == {"a": "1", "b": "3", "c": "x=y"}
    run(fake, *BATCH, "--label", "a=")
    assert _sent(fake)["labels"] == {"a": ""}
    for wrong in ("a", "=1"):
        run(fake, *BATCH, "--label", wrong).refused(2, "key=value")


def test_a_key_of_the_command_line_is_sent_as_it_is(fake: FakeGateway) -> None:
    run(fake, "cts", "submit", "-", "--idempotency-key", "k 1", text=json.dumps(JOB))
    run(fake, *BATCH, "--idempotency-key", "k2")
    assert fake.jobs.keys == ["k 1", "k2"]


@pytest.mark.parametrize("argv", [("cts", "jobs"), ("cts", "admin", "jobs")], ids=" ".join)
def test_lists_are_narrowed_down_by_options(fake_admin: FakeGateway, argv: tuple[str, ...]) -> None:
    run(fake_admin, *argv, "--name", "n", "--label", "a", "--label", "b=c", "--image", "tool:1")
    image = ("docker.io/library/tool", "1", None)
    assert _sent(fake_admin)["narrow"] == Narrow("n", (("a", None), ("b", "c")), image)


def test_shared_jobs_are_listed_when_they_are_asked_for(fake: FakeGateway) -> None:
    run(fake, "cts", "jobs", "--shared")
    assert _sent(fake)["narrow"] == Narrow(shared=True)


def test_the_queue_is_narrowed_down_by_labels(fake: FakeGateway) -> None:
    run(fake, "ctsqueue", "--label", "a=1")
    narrow = [what["narrow"] for name, what in fake.jobs.calls if name == "list_jobs"]
    assert set(narrow) == {Narrow(labels=(("a", "1"),))}
    run(fake, "ctsqueue", "--label", "a=1", "-j", "1").refused(2, "--label does not go with -j")


def test_sharing_says_with_whom_or_with_nobody(fake: FakeGateway) -> None:
    fake.jobs.add()
    assert "shared with nobody" in run(fake, "cts", "share", "1", "--nobody").out
    run(fake, "cts", "share", "1", "--user", "bob", "--user", "carol", "--group", "lab")
    assert [what for _, what in fake.jobs.shared] == [
        Sharing(),
        Sharing(users=("bob", "carol"), groups=("lab",)),
    ]
    run(fake, "cts", "share", "1").refused(2, "say with whom")
    run(fake, "cts", "share", "1", "--nobody", "--user", "bob").refused(2, "say with whom")
    run(fake, "cts", "share", "1_0", "--nobody").refused(2, "cts share 1")
    run(fake, "cts", "share", "7", "--nobody").refused(3, "40040")


def test_a_wait_is_explained_wherever_a_job_is_shown(fake: FakeGateway) -> None:
    fake.jobs.add(phase="pending")
    row = fake.jobs.rows[1]
    row.reason, row.position = "waits behind jobs of higher priority (Priority)", 12
    row.expected = datetime(2026, 11, 24, 6, tzinfo=UTC)
    for argv in (("cts", "jobs"), ("ctsqueue",)):
        said = run(fake, *argv).out
        assert "(Priority); 12 in the queue; expected to start 2026-11-24T" in said, argv
    shown = run(fake, "cts", "show", "1").out
    for line in ("Reason    waits behind", "Queue     12 in the queue", "Expected  2026-11-24T"):
        assert line in shown


def test_dependencies_are_written_as_for_sbatch(fake: FakeGateway) -> None:
    job = json.dumps(JOB | {"depends_on": [{"job_id": "9"}]})
    run(fake, "cts", "submit", "-", "-d", "afterok:12:13,afterany:14", text=job)
    wanted = [("12", "afterok"), ("13", "afterok"), ("14", "afterany")]
    named = [{"job_id": number, "condition": kind} for number, kind in wanted]
    assert _sent(fake)["depends_on"] == [{"job_id": "9"}, *named]
    run(fake, *BATCH, "--dependency", "afterany:14")
    assert _sent(fake)["depends_on"] == named[2:]
    for wrong in ("12", "after:12", "afterok", "afterok:1?afterok:2", "singleton", ""):
        assert run(fake, *BATCH, "-d", wrong).code in (2, 3), wrong
    run(fake, *BATCH, "-d", "afterok:12_0").refused(2, "cts submit -d afterok:12")
