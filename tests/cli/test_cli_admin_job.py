"""cts admin job."""

from __future__ import annotations

import json

from tests.api.gateway_fake import FakeGateway
from tests.cli.run import run


def test_an_admin_sees_a_job_with_what_is_at_its_site(fake_admin: FakeGateway) -> None:
    job = fake_admin.jobs.add("alice")
    out = run(fake_admin, "cts", "admin", "job", "show", str(job)).out
    assert "\nSubmissions\n" in out
    assert f"Directory /work/jobs/{job}\n" in out
    found = json.loads(run(fake_admin, "cts", "admin", "job", "show", str(job), "--json").out)
    assert found["submissions"] == []


def test_what_slurm_says_is_printed_raw_and_what_it_does_not_say_too(
    fake_admin: FakeGateway,
) -> None:
    job = fake_admin.jobs.add("alice")
    out = run(fake_admin, "cts", "admin", "job", "runner-status", f"{job}_1").out
    assert '"job_id": 77' in out
    assert out.endswith("sacct\nsacct: away\n")
    assert fake_admin.job_admin.asked == [("runner_status", job, 1)]
    raw = json.loads(
        run(fake_admin, "cts", "admin", "job", "runner-status", str(job), "--json").out
    )
    assert raw["controller"] == {"jobs": [{"job_id": 77}]}


def test_notes_are_read_as_numbers_truths_or_text(fake_admin: FakeGateway) -> None:
    job = fake_admin.jobs.add("alice")
    words = ("ticket=HPC-77", "n=3", "f=1.5", "ok=true", "text=a=b", 'q="x"', "none=null")
    run(fake_admin, "cts", "admin", "job", "meta", str(job), *words, "--unset", "old")
    values = {"ticket": "HPC-77", "n": 3, "f": 1.5, "ok": True, "text": "a=b", "q": '"x"', "none": "null"}  # fmt: skip
    assert fake_admin.job_admin.asked == [("set_meta", job, values, ["old"])]
    run(fake_admin, "cts", "admin", "job", "meta", str(job), "word").refused(2, "KEY=VALUE")


def test_jobs_are_cleaned_and_their_events_sent_again(fake_admin: FakeGateway) -> None:
    one, two = fake_admin.jobs.add("alice"), fake_admin.jobs.add("bob")
    done = run(
        fake_admin, "cts", "admin", "job", "clean", str(one), "99", str(two), "--force", "--json"
    )
    assert (done.code, json.loads(done.out)) == (3, {"cleaned": [str(one), str(two)]})
    assert "no job 99" in done.err
    run(fake_admin, "cts", "admin", "job", "notify", str(one), "--state", "complete")
    assert fake_admin.job_admin.asked == [
        ("clean", one, True),
        ("clean", two, True),
        ("notify", one, "complete"),
    ]


def test_a_user_is_no_admin(fake: FakeGateway) -> None:
    job = fake.jobs.add()
    for words in (("show",), ("runner-status",), ("clean",), ("notify",), ("meta", "a=1")):
        run(fake, "cts", "admin", "job", words[0], str(job), *words[1:]).refused(3, "20000")
