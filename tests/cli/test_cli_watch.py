"""cts watch and cts webhook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.client import events as events_module
from tests.api.gateway_fake import ME, FakeGateway, until
from tests.cli.run import run, start


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back at once."""
    monkeypatch.setattr(events_module, "_PAUSE", 0.02)


def test_named_jobs_are_watched_from_their_beginning_to_their_end(fake: FakeGateway) -> None:
    good, bad = fake.jobs.add(phase="complete"), fake.jobs.add(phase="error")
    fake.happenings.happen(good, "created", "run", "complete", user=ME)
    fake.happenings.happen(bad, "created", "error", user=ME)
    done = run(fake, "cts", "watch", str(good))
    assert done.code == 0
    assert [line.split()[1:] for line in done.out.splitlines()] == [
        [str(good), "created", "created"],
        [str(good), "job_submitted", "run"],
        [str(good), "complete", "complete"],
    ]
    done = run(fake, "cts", "watch", str(good), str(bad), "--json", "--state", "error")
    assert done.code == 1
    assert [json.loads(line)["phase"] for line in done.out.splitlines()] == ["error"]


def test_a_job_that_went_on_after_its_end_is_watched_to_its_last_one(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    fake.happenings.happen(job, "created", "error", "run", user=ME)
    watching = start(fake, "cts", "watch", str(job))
    assert watching.stdout is not None
    for phase in (b"created", b"error", b"run"):
        assert watching.stdout.readline().split()[-1] == phase
    fake.jobs.rows[job].to("complete")
    fake.happenings.happen(job, "complete", user=ME)
    assert watching.stdout.readline().split()[-1] == b"complete"
    assert watching.wait(20) == 0


def test_without_names_lines_come_as_things_happen_until_it_is_interrupted(
    fake: FakeGateway,
) -> None:
    fake.happenings.happen(1, "created", user=ME)
    watching = start(fake, "cts", "watch")
    assert watching.stdout is not None
    until(lambda: bool(fake.happenings.feed._listeners), 30)
    fake.happenings.happen(1, "run", user=ME)
    assert watching.stdout.readline().split()[1:] == [b"1", b"job_submitted", b"run"]
    watching.send_signal(2)
    assert watching.wait(20) == 130


def test_what_makes_no_sense_is_refused(fake: FakeGateway) -> None:
    run(fake, "cts", "watch", "99").refused(3, "99")
    run(fake, "cts", "watch", "1_0").refused(2)
    run(fake, "cts", "watch", "-a").refused(3, "20000")
    run(fake, "cts", "watch", "-a", "1").refused(2, "--everyone")


def test_a_webhook_is_added_with_its_secret_shown_once_or_kept_in_a_file(
    fake: FakeGateway, tmp_path: Path
) -> None:
    done = run(fake, "cts", "webhook", "add", "https://hooks.example.org/cts", "--state", "complete")  # fmt: skip
    secret = done.out.strip()
    assert secret.startswith("whsec_")
    assert "shown this once" in done.err
    listed = run(fake, "cts", "webhook", "list").out
    assert "https://hooks.example.org/cts" in listed
    assert secret not in listed
    kept = tmp_path / "secret"
    kept.write_text(secret)
    made = run(fake, "cts", "webhook", "add", "https://hooks.example.org/2", "--secret-file", str(kept), "--json")  # fmt: skip
    assert "secret" not in json.loads(made.out)
    written = tmp_path / "new"
    run(fake, "cts", "webhook", "add", "https://hooks.example.org/3", "-o", str(written))
    assert written.read_text().startswith("whsec_")
    assert written.stat().st_mode & 0o777 == 0o600
    while len(fake.happenings.webhooks.everything()) < 8:
        run(fake, "cts", "webhook", "add", "https://hooks.example.org/more")
    run(fake, "cts", "webhook", "add", "https://hooks.example.org/4").refused(2, "60000")
    run(fake, "cts", "webhook", "add", "https://evil.org/").refused(2, "30001")


def test_a_webhook_is_tested_and_removed(fake: FakeGateway) -> None:
    run(fake, "cts", "webhook", "add", "https://hooks.example.org/cts")
    (hook,) = json.loads(run(fake, "cts", "webhook", "list", "--json").out)
    assert run(fake, "cts", "webhook", "test", hook["id"]).out == "delivered\n"
    fake.happenings.broken = "it answered 500"
    run(fake, "cts", "webhook", "test", hook["id"]).refused(1, "it answered 500")
    run(fake, "cts", "webhook", "delete", "999").refused(3, "999")
    assert run(fake, "cts", "webhook", "delete", hook["id"]).code == 0
    assert json.loads(run(fake, "cts", "webhook", "list", "--json").out) == []
