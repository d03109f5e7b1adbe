"""cts logs: whole, followed, and harmless to a terminal."""

from __future__ import annotations

import json
import threading

import pytest

from gateway.cli.text import LogCleaner, clean
from tests.api.gateway_fake import FakeGateway, until
from tests.cli.run import on_terminal, run, start

EVIL = b"a\x1b[2Jb\x1b]0;title\x07c\xc2\x9bd\x00e\x1b[31mred\x1b[0m\ttab\rback\xe2\x80\xaef\xffg\n"
HARMLESS = "a?[2Jb?]0;title?c?d?e\x1b[31mred\x1b[0m\ttab\rback?f\ufffdg\n"


@pytest.fixture
def job(fake: FakeGateway) -> FakeGateway:
    """A job, 1, that runs; its container 0 has written something evil."""
    number = fake.jobs.add(phase="run")
    fake.jobs.rows[number].logs[0, "stdout"] = EVIL
    fake.jobs.rows[number].logs[0, "stderr"] = b"oops\n"
    return fake


def test_a_log_goes_into_a_pipe_as_it_is_and_to_a_terminal_without_what_steers_it(
    job: FakeGateway,
) -> None:
    assert run(job, "cts", "logs", "1").raw == EVIL
    code, shown = on_terminal(job, "cts", "logs", "1")
    assert (code, shown.replace("\r\n", "\n")) == (0, HARMLESS + "\x1b[0m")


@pytest.mark.parametrize("size", range(1, len(EVIL)))
def test_a_sequence_over_the_seam_of_two_pieces_does_not_slip_through(size: int) -> None:
    cleaner = LogCleaner()
    pieces = [EVIL[n : n + size] for n in range(0, len(EVIL), size)]
    shown = "".join(cleaner.add(piece) for piece in pieces) + cleaner.add(b"", last=True)
    assert shown == HARMLESS
    assert cleaner.coloured


def test_a_log_that_ends_in_the_middle_of_a_sequence_or_letter_is_shown_whole() -> None:
    for end, shown in ((b"\x1b", "?"), (b"\x1b[3", "?[3"), (b"\xe2\x80", "\ufffd")):
        cleaner = LogCleaner()
        assert cleaner.add(b"x" + end) == "x"
        assert cleaner.add(b"", last=True) == shown
        assert not cleaner.coloured


def test_the_other_stream_is_after_stderr(job: FakeGateway) -> None:
    assert run(job, "cts", "logs", "--stderr", "1").out == "oops\n"


def test_a_log_that_is_not_there_is_exit_code_3(job: FakeGateway) -> None:
    run(job, "cts", "logs", "1_1").refused(3, "(appcode 40070)")


def test_a_log_as_json_is_its_text_with_its_size_and_whether_it_is_all(job: FakeGateway) -> None:
    found = json.loads(run(job, "cts", "logs", "--json", "1").out)
    assert found == {
        "id": "1_0", "stream": "stdout", "final": False, "size": len(EVIL),
        "text": EVIL.decode("utf-8", "replace"),
    }  # fmt: skip
    job.jobs.rows[1].to("complete")
    assert json.loads(run(job, "cts", "logs", "--json", "--stderr", "1").out)["final"] is True
    run(job, "cts", "logs", "--json", "-f", "1").refused(2, "--json", "--follow")


def test_a_log_of_many_mebibytes_comes_whole(job: FakeGateway) -> None:
    data = bytes(range(256)) * (3 * 4096 + 1)
    job.jobs.rows[1].logs[0, "stdout"] = data
    assert run(job, "cts", "logs", "1").raw == data


def test_following_prints_what_comes_until_the_end_and_outlives_a_restart_of_the_daemon(
    job: FakeGateway,
) -> None:
    row = job.jobs.rows[1]
    row.logs[0, "stdout"] = b"one\n"
    with start(job, "cts", "logs", "-f", "1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"one\n"
        job.stop()
        row.logs[0, "stdout"] += b"two\n"
        job.start()
        assert process.stdout.readline() == b"two\n"
        row.logs[0, "stdout"] += b"three\n"
        row.to("complete")
        assert process.stdout.read() == b"three\n"
        assert (process.wait(20), process.stderr.read()) == (0, b"")


def test_following_waits_for_a_log_that_is_not_there_yet(job: FakeGateway) -> None:
    def write() -> None:
        until(lambda: [what for name, what in job.jobs.calls if name == "log"])
        job.jobs.rows[1].logs[1, "stdout"] = b"late\n"
        job.jobs.rows[1].to("complete")

    writer = threading.Thread(target=write)
    writer.start()
    done = run(job, "cts", "logs", "-f", "1_1")
    writer.join()
    assert (done.code, done.out) == (0, "late\n")


def test_following_a_log_that_will_never_be_ends_with_3(job: FakeGateway) -> None:
    job.jobs.rows[1].to("error")
    run(job, "cts", "logs", "-f", "1_1").refused(3, "(appcode 40070)")


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202e", "\x9b", "\x7f", "\ud800"])
def test_names_from_others_cannot_steer_a_terminal(job: FakeGateway, text: str) -> None:
    assert "?" in clean(text)
    job.jobs.rows[1].name = job.jobs.rows[1].error = text
    job.jobs.rows[1].reason = text
    for argv in (("cts", "jobs"), ("cts", "show", "1"), ("ctsqueue",)):
        if text != "\ud800":  # which JSON does not carry
            out = run(job, *argv).out
            assert text not in out
            assert "?" in out


def test_letters_of_all_scripts_are_shown_as_they_are() -> None:
    assert clean("\u00e9\u4e2d\U0001f600 x") == "\u00e9\u4e2d\U0001f600 x"
