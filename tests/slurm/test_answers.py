"""What sbatch says decides whether a submission was refused, may be tried later, or may have been queued."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.slurm.answers import ERRORS, Answer, Outlook, Submission, read_answer, read_outlook
from gateway.slurm.hands import CommandResult

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def answer(stderr: str, code: int = 1, stdout: str = "") -> Answer:
    return read_answer(CommandResult(code, stdout, stderr)).answer


@pytest.mark.parametrize(
    ("stdout", "job_id"),
    [("77\n", "77"), ("77;dev\n", "77"), ("a word of a plugin\n78\n", "78"), ("79", "79")],
)
def test_a_job_id_says_that_the_job_is_queued(stdout: str, job_id: str) -> None:
    done = CommandResult(0, stdout, "sbatch: a word of a plugin\n")
    assert read_answer(done) == Submission(Answer.QUEUED, job_id)


def test_a_job_id_counts_even_when_sbatch_died_after_it() -> None:
    assert read_answer(CommandResult(-6, "77\n", "")) == Submission(Answer.QUEUED, "77")


@pytest.mark.parametrize("stdout", ["", "\n", "ok\n", "0\n", "-1\n", "12345678901\n", "7 7\n"])
def test_success_without_an_id_leaves_it_open(stdout: str) -> None:
    assert answer("", 0, stdout) is Answer.UNKNOWN


def test_an_sbatch_that_was_killed_leaves_it_open() -> None:
    done = CommandResult(-9, "", f"{FAILED}Invalid partition name specified\n")
    assert read_answer(done).answer is Answer.UNKNOWN
    assert "signal 9" in read_answer(done).text


@pytest.mark.parametrize(
    "text", [text for text, found in ERRORS.items() if found is Answer.REFUSED]
)
def test_a_definite_no_is_a_refusal(text: str) -> None:
    assert answer(f"{FAILED}{text}\n") is Answer.REFUSED


@pytest.mark.parametrize("text", [text for text, found in ERRORS.items() if found is Answer.LATER])
def test_a_no_that_passes_with_time_is_later(text: str) -> None:
    assert answer(f"{FAILED}{text}\n") is Answer.LATER


@pytest.mark.parametrize(
    "text",
    [
        # The request was sent, and its answer did not come or could not be read.
        "Authentication credential expired",
        "Authentication credential invalid",
        "Broken pipe",
        "Communication connection failure",
        "Communication shutdown failure",
        "Connection forced closed by quiesce timeout",
        "Connection rejected by handler",
        "Connection reset by peer",
        "Connection timed out",
        "Connection timed out reading",
        "Connection timed out writing",
        "Failed to send entire message",
        "Header lengths are longer than data received",
        "Incompatible versions of client and server code",
        "Insane message length",
        "Invalid authentication credential",
        "Message receive failure",
        "Message send failure",
        "No error",
        "Process is shutting down and closing all communications",
        "Protocol authentication error",
        "Read would block",
        "Received zero length message",
        "Slurm internal error, contact system administrator",
        "Socket timed out on send/recv operation",
        "Unable to contact slurm controller (receive failure)",
        "Unable to contact slurm controller (send failure)",
        "Unable to contact slurm controller (shutdown failure)",
        "Unexpected message received",
        "Unspecified error",
        "Zero Bytes were transmitted or received",
        # No Slurm that we know says this.
        "Unknown error 9999",
        "",
    ],
)
def test_a_lost_answer_is_neither_a_refusal_nor_later(text: str) -> None:
    assert answer(f"{FAILED}{text}\n") is Answer.UNKNOWN


@pytest.mark.parametrize(
    "first",
    [
        "Slurm job queue full, sleeping and retrying",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Job creation temporarily disabled, retrying",
    ],
)
def test_the_last_of_sbatchs_own_attempts_counts(first: str) -> None:
    lines = f"sbatch: error: {first}\n{FAILED}"
    assert answer(f"{lines}MaxJobCount limit reached\n") is Answer.LATER
    assert answer(f"{lines}Socket timed out on send/recv operation\n") is Answer.UNKNOWN
    assert answer(f"{lines}Invalid qos specification\n") is Answer.REFUSED
    assert answer(f"sbatch: error: {first}\n") is Answer.UNKNOWN


@pytest.mark.parametrize(
    "limit",
    [
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpSubmitJobsLimit",
        "MaxSubmitJobsPerAccount",
    ],
)
def test_a_limit_of_how_many_jobs_may_wait_is_later(limit: str) -> None:
    assert answer(f"sbatch: error: {limit}\n{FAILED}{POLICY}\n") is Answer.LATER


@pytest.mark.parametrize(
    "limit", ["QOSMaxWallDurationPerJobLimit", "QOSMaxCpuPerUserLimit", "AssocGrpNodeLimit", "x"]
)
def test_a_limit_of_size_or_time_is_a_refusal(limit: str) -> None:
    assert answer(f"sbatch: error: {limit}\n{FAILED}{POLICY}\n") is Answer.REFUSED
    assert answer(f"{FAILED}{POLICY}\n") is Answer.REFUSED


def test_a_plugin_that_says_no_in_its_own_words_is_a_refusal() -> None:
    said = f"sbatch: error: Please name a project with -A\n{FAILED}Unspecified error\n"
    found = read_answer(CommandResult(1, "", said))
    assert found == Submission(Answer.REFUSED, "Please name a project with -A; Unspecified error")


@pytest.mark.parametrize(
    "line",
    [
        "slurm_unpack_received_msg: [[localhost]:6817] Header lengths are longer than data received",
        "slurm_receive_msg [127.0.0.1:6817]: Zero Bytes were transmitted or received",
        "auth_g_verify: RESPONSE_SUBMIT_BATCH_JOB has authentication error",
        "Munge decode failed: Expired credential",
    ],
)
def test_an_unspecified_error_on_the_road_leaves_it_open(line: str) -> None:
    assert answer(f"sbatch: error: {line}\n{FAILED}Unspecified error\n") is Answer.UNKNOWN


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: unrecognized option '--nope'\nTry \"sbatch --help\" for more information",
        "sbatch: error: Invalid --mem specification",
        "sbatch: error: Invalid directive found in batch script: b",
        'sbatch: error: Invalid numeric value "x" for --cpus-per-task.',
        "sbatch: error: This does not look like a batch script.  The first\n"
        "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
        "sbatch: error: For instance: #!/bin/sh",
        "sbatch: error: Batch script is empty!",
        "sbatch: error: Batch script contains DOS line breaks (\\r\\n)",
        "sbatch: error: cli_filter plugin terminated with error",
    ],
)
def test_an_sbatch_that_never_asked_slurmctld_is_a_refusal(said: str) -> None:
    assert answer(said + "\n", 255) is Answer.REFUSED


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Unable to open file /scratch/cts/jobs/7/submit-0.sbatch",
        "sbatch: fatal: Could not establish a configuration source",
        "sbatch: fatal: Unable to process configuration file",
    ],
)
def test_trouble_of_the_machine_before_asking_is_later(said: str) -> None:
    assert answer(said + "\n") is Answer.LATER


@pytest.mark.parametrize("said", ["", "sbatch: fatal: out of memory", "Killed", "sbatch: error: x"])
def test_an_end_without_a_known_word_leaves_it_open(said: str) -> None:
    assert answer(said) is Answer.UNKNOWN


def test_what_slurm_said_reaches_the_user_in_one_line() -> None:
    said = (
        "sbatch: error: Memory specification can not be satisfied\n"
        f"{FAILED}Requested node configuration is not available\n"
    )
    assert read_answer(CommandResult(1, "", said)).text == (
        "Memory specification can not be satisfied; Requested node configuration is not available"
    )
    assert read_answer(CommandResult(3, "", "")).text == "exit code 3"
    assert len(read_answer(CommandResult(1, "", "x" * 10_000)).text) <= 600


def test_a_number_beside_a_failure_is_no_job_id() -> None:
    assert answer(f"{FAILED}Invalid qos specification\n", 1, "12\n") is Answer.REFUSED


texts = st.text(max_size=30) | st.integers(0).map(str)


@given(st.integers(-64, 255), texts, texts | st.builds((FAILED + "{}").format, texts))
def test_no_answer_makes_it_raise_and_only_a_printed_id_means_queued(
    code: int, stdout: str, stderr: str
) -> None:
    found = read_answer(CommandResult(code, stdout, stderr))
    if found.answer is Answer.QUEUED:
        assert found.text in stdout
        assert int(found.text) > 0
    if found.answer in (Answer.REFUSED, Answer.LATER):
        assert code > 0
        assert any(word in stderr for word in (*ERRORS, "option", "Invalid", "Unable"))


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: Job 7 to start at 2026-11-24T13:11:58 using 4 processors on nodes n[1-2] in partition debug\n",
        "sbatch: a word of a plugin\nsbatch: Job 7 to start at 2026-11-24T13:11:58 a using 1 processors on nodes n1 in partition debug\n"
        "sbatch:   Preempts: 12\n",
    ],
    ids=["22.05", "26.05"],
)
def test_a_look_ahead_has_the_start_and_the_partition(said: str) -> None:
    start = datetime(2026, 11, 24, 13, 11, 58, tzinfo=UTC)
    assert read_outlook(CommandResult(0, "", said)) == Outlook(Answer.QUEUED, "", start, "debug")


@pytest.mark.parametrize("said", ["", "sbatch: Job 7 to start at Unknown using 1 processors on\n"])
def test_a_look_ahead_may_know_no_time(said: str) -> None:
    found = read_outlook(CommandResult(0, "", said))
    assert (found.answer, found.start) == (Answer.QUEUED, None)


@pytest.mark.parametrize("prefix", ["allocation failure: ", "sbatch: error: allocation failure: "])
@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Invalid qos specification", Answer.REFUSED),
        ("Required partition not available (inactive or drain)", Answer.LATER),
        ("Unable to contact slurm controller (connect failure)", Answer.UNKNOWN),
        # Of nodes that are drained now it says the same as of nodes that are not there at all.
        ("Requested node configuration is not available", Answer.LATER),
        ("Socket timed out on send/recv operation", Answer.UNKNOWN),
    ],
)
def test_a_look_ahead_that_fails_is_read_as_a_submission_that_fails(
    prefix: str, said: str, found: Answer
) -> None:
    shown = read_outlook(CommandResult(1, "", f"sbatch: error: a plugin's word\n{prefix}{said}\n"))
    assert (shown.answer, shown.start) == (found, None)
    assert shown.text.endswith(said)


@given(st.integers(-9, 9), st.text(), st.text())
def test_no_look_ahead_makes_it_raise(code: int, out: str, said: str) -> None:
    text = f"sbatch: Job 1 to start at {said} in partition {said}"
    assert isinstance(read_outlook(CommandResult(code, out, text)), Outlook)
