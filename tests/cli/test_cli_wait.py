"""Waiting: how it ends, what it shows meanwhile, and what a time-out or Ctrl-C leaves."""

from __future__ import annotations

import json
import re
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gateway import wire
from gateway.cli.progress import line
from tests.api.gateway_fake import BEGIN, JOB, FakeGateway, until
from tests.cli.run import on_terminal, run, start


def _asked(fake: FakeGateway, job: int) -> None:
    """Wait until a job's status has been asked for twice from now: to see that it is there, and while it is waited for."""
    fake.jobs.asked[job] = 0
    until(lambda: fake.jobs.asked[job] > 1, 30)


@pytest.mark.parametrize(("end", "code"), [("complete", 0), ("error", 1), ("canceled", 1)])
def test_the_exit_code_tells_how_a_job_ended(fake: FakeGateway, end: str, code: int) -> None:
    job = fake.jobs.add(phase="run")
    row = fake.jobs.rows[job]
    row.to(end, error="container 1_0 exited with code 7" if end == "error" else None)
    done = run(fake, "cts", "wait", "1")
    assert (done.code, done.out) == (code, "")
    expected = {
        "complete": "", "canceled": "job 1 is canceled\n",
        "error": "job 1 is error: container 1_0 exited with code 7\n",
    }  # fmt: skip
    assert done.err == expected[end]


def test_waiting_for_several_tells_each_that_failed(fake: FakeGateway) -> None:
    for phase in ("complete", "error", "canceled"):
        fake.jobs.add(phase=phase)
    done = run(fake, "cts", "wait", "1", "2", "3", "--json")
    assert done.code == 1
    assert done.err.splitlines() == ["job 2 is error", "job 3 is canceled"]
    assert [job["state"] for job in json.loads(done.out)] == ["complete", "error", "canceled"]


def test_what_is_no_job_of_mine_is_told_at_once_and_the_others_are_waited_for(
    fake: FakeGateway,
) -> None:
    fake.jobs.add(phase="complete")
    done = run(fake, "cts", "wait", "99", "1", "1_0")
    assert done.code == 3
    assert len(done.err.splitlines()) == 2


def test_a_time_out_is_exit_code_1_and_the_jobs_go_on(fake: FakeGateway) -> None:
    fake.jobs.add(phase="run")
    fake.jobs.add(phase="complete")
    done = run(fake, "cts", "wait", "1", "2", "--timeout", "0", "--json")
    assert done.code == 1
    assert done.err == "job 1 has not ended in 0 s: it is in phase run, and goes on\n"
    assert [job["phase"] for job in json.loads(done.out)] == ["run", "complete"]
    assert fake.jobs.rows[1].phase == "run"
    assert run(fake, "cts", "wait", "1", "--timeout", "-1").code == 2


def test_submit_and_wait_prints_the_id_and_ends_as_the_job_does(fake: FakeGateway) -> None:
    fake.jobs.ends = "error"
    done = run(fake, "cts", "submit", "--wait", "-", text=json.dumps(JOB))
    assert (done.code, done.out, done.err) == (1, "1\n", "job 1 is error\n")
    fake.jobs.ends = "complete"
    done = run(fake, "cts", "submit", "--wait", "--json", "-", text=json.dumps(JOB))
    assert (done.code, done.err) == (0, "")
    assert [job["id"] for job in json.loads(done.out)] == ["2"]


def test_without_a_terminal_nothing_is_shown_but_with_v_a_line_for_each_phase(
    fake: FakeGateway,
) -> None:
    job = fake.jobs.add(phase="pending")
    row = fake.jobs.rows[job]

    def move() -> None:
        _asked(fake, job)
        row.to("pending", reason="Priority")
        _asked(fake, job)
        row.to("complete")

    mover = threading.Thread(target=move)
    mover.start()
    done = run(fake, "cts", "wait", "-v", "1")
    mover.join()
    assert done.out == ""
    shown = [re.sub(r"^\d\d:\d\d:\d\d ", "", text) for text in done.err.splitlines()]
    assert shown == ["1 pending", "1 pending: Priority", "1 complete"]


def test_a_terminal_shows_a_live_line_and_keeps_the_last_one(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run", num_containers=3)
    row = fake.jobs.rows[job]
    row.codes[0] = 0
    row.reason = "\x1b[2J evil"

    def look(shown: str) -> None:
        if "1/3 containers ended" in shown and row.phase == "run":
            row.codes = [0, 0, 0]
            row.to("complete")

    code, shown = on_terminal(fake, "cts", "wait", "1", until=look)
    assert code == 0
    assert "1 run  1/3 containers ended" in shown
    assert "?[2J evil" in shown
    # The line is cleared, the last one printed for good, and the cursor is back.
    assert "\r\x1b[2K1 complete  3/3 containers ended  00:00:02\r\n" in shown
    assert "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2]
    assert shown.endswith("\x1b[1A\x1b[2K")


def test_the_line_has_the_phase_the_containers_the_time_and_the_reason() -> None:
    status = wire.JobStatus(
        id="12", user="alice", state="job_submitted", phase="pending", reason="Resources",
        transition_times=[wire.TransitionTime(state="created", time=BEGIN, phase="created")],
    )  # fmt: skip
    now = BEGIN + timedelta(days=1, seconds=62)
    assert line(status, (2, 8), now) == "12 pending  2/8 containers ended  1-00:01:02  Resources"
    assert line(status.model_copy(update={"reason": None}), None, now) == "12 pending  1-00:01:02"
    early = datetime(2000, 1, 1, tzinfo=UTC)  # a clock that is behind the gateway's
    assert line(status, None, early) == "12 pending  00:00:00  Resources"


def test_waiting_outlives_a_restart_of_the_daemon(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    with start(fake, "cts", "wait", "1") as process:
        _asked(fake, job)
        fake.stop()
        fake.jobs.rows[job].to("complete")
        fake.start()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_ctrl_c_is_130_and_says_that_the_job_goes_on(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    with start(fake, "cts", "wait", "1") as process:
        _asked(fake, job)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err == (
        b"\njob 1 is not canceled; wait again with: cts wait 1; or cancel with: cts cancel 1\n"
    )
    assert fake.jobs.rows[job].phase == "run"


def test_ctrl_c_while_a_log_is_followed_is_130_without_a_word(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    fake.jobs.rows[job].logs[0, "stdout"] = b"one\n"
    with start(fake, "cts", "logs", "-f", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_reader_who_has_gone_is_no_error(fake: FakeGateway) -> None:
    for _ in range(300):
        fake.jobs.add(name="x" * 500)
    with start(fake, "cts", "jobs", "--limit", "300") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


def test_a_terminal_of_few_letters_gets_what_it_can_show(fake: FakeGateway) -> None:
    fake.jobs.add(name="caf\u00e9 \u4e2d")
    with start(fake, "cts", "jobs", env={"PYTHONIOENCODING": "latin-1"}) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert b"caf\xe9 ?" in out
