"""Slurm by its commands: what is asked, and what each answer means to the gateway."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.errors import SiteError
from gateway.slurm.cli import CliBackend
from gateway.slurm.hands import CommandResult, LocalHands
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError

FAILED = "sbatch: error: Batch job submission failed: "


class FakeHands(LocalHands):
    """Answers every command with the next of its results and keeps what was asked."""

    def __init__(self, *results: CommandResult) -> None:
        self._lock = None
        self.results = list(results)
        self.asked: list[tuple[list[str], float, bool]] = []

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        self.asked.append((list(argv), timeout, guarded))
        return self.results.pop(0)


def backend(
    *results: CommandResult, bin_dir: str | None = None, user: str | None = "ctsjob"
) -> tuple[CliBackend, FakeHands]:
    hands = FakeHands(*results)
    return CliBackend(hands, bin_dir, user, 60), hands


def fails(stderr: str, code: int = 1) -> CommandResult:
    return CommandResult(code, "", stderr)


def test_a_submission_is_guarded_and_outlasts_sbatchs_own_patience() -> None:
    slurm, hands = backend(CommandResult(0, "77\n", ""), bin_dir="/opt/slurm/bin")
    assert slurm.submit("/work/submit-0.sbatch") == "77"
    argv, timeout, guarded = hands.asked[0]
    assert argv == ["/opt/slurm/bin/sbatch", "--parsable", "/work/submit-0.sbatch"]
    assert guarded
    assert timeout >= sum(range(1, 16)) + 30  # it sleeps 1 + 2 + … + 15 s between its attempts


def test_a_refusal_a_later_and_an_open_answer_are_three_different_errors() -> None:
    slurm, _ = backend(
        fails(f"{FAILED}Invalid qos specification\n"),
        fails(f"{FAILED}MaxJobCount limit reached\n"),
        fails(f"{FAILED}Socket timed out on send/recv operation\n"),
        CommandResult(0, "", ""),
    )
    with pytest.raises(SubmitRefusedError, match=r"^Invalid qos specification$"):
        slurm.submit("/s")
    with pytest.raises(SubmitLaterError, match="sbatch: MaxJobCount limit reached"):
        slurm.submit("/s")
    for said in ("Socket timed out", "no job id"):
        with pytest.raises(SiteError, match=said) as caught:
            slurm.submit("/s")
        assert type(caught.value) is SiteError


WOULD = "sbatch: Job 7 to start at 2026-11-24T13:11:58 using 1 processors on nodes n1 in partition debug\n"


def test_a_look_ahead_queues_nothing_and_has_its_time() -> None:
    up = CommandResult(0, "debug|debug|up|30:00|1/0/0/1\n", "")
    slurm, hands = backend(fails(WOULD, 0), up)
    found = slurm.expected_start("/work/.start.sbatch", 15)
    assert found == datetime(2026, 11, 24, 13, 11, 58, tzinfo=UTC)
    assert hands.asked[0] == (["sbatch", "--test-only", "/work/.start.sbatch"], 15, True)


def test_a_look_ahead_at_a_partition_that_is_down_is_no_start() -> None:
    down = CommandResult(0, "debug|debug|down|30:00|1/0/0/1\n", "")
    slurm, _ = backend(fails(WOULD, 0), down)
    with pytest.raises(SubmitLaterError, match="the partition debug is DOWN"):
        slurm.expected_start("/s", 15)


def test_a_look_ahead_is_refused_put_off_or_not_answered() -> None:
    slurm, _ = backend(
        fails("allocation failure: Invalid qos specification\n"),
        fails("allocation failure: Requested node configuration is not available\n"),
        fails("allocation failure: Socket timed out on send/recv operation\n"),
        fails("allocation failure: Unable to contact slurm controller (connect failure)\n"),
    )
    with pytest.raises(SubmitRefusedError, match=r"^Invalid qos specification$"):
        slurm.expected_start("/s", 15)
    with pytest.raises(SubmitLaterError, match="Requested node configuration"):
        slurm.expected_start("/s", 15)
    for said in ("Socket timed out", "Unable to contact"):
        with pytest.raises(SiteError, match=said) as caught:
            slurm.expected_start("/s", 15)
        assert type(caught.value) is SiteError


def test_the_queue_is_asked_once_for_all_jobs_of_the_jobs_user() -> None:
    slurm, hands = backend(
        CommandResult(0, "32|31|0|COMPLETED|n1|7|N/A|None|cts:dev:20:0:c4\n", "")
    )
    (task,) = slurm.queue()
    assert (task.slurm_job_id, task.task, task.tag) == ("31", 0, "cts:dev:20:0:c4")
    ((argv, timeout, guarded),) = hands.asked
    assert argv[0] == "squeue"
    assert {"--noheader", "--array", "--states=all", "--user=ctsjob"} < set(argv)
    assert (timeout, guarded) == (60, False)


def test_without_a_user_the_callers_own_jobs_are_asked_for() -> None:
    slurm, hands = backend(CommandResult(0, "", ""), CommandResult(0, "", ""), user=None)
    slurm.queue()
    slurm.accounting(datetime(2026, 11, 24, tzinfo=UTC))
    assert "--me" in hands.asked[0][0]
    assert not any(word.startswith("--user") for word in hands.asked[1][0])


def test_the_accounting_is_asked_in_utc_and_by_options_that_every_slurm_has() -> None:
    slurm, hands = backend(CommandResult(0, "", ""))
    since = datetime(2026, 11, 24, 9, 30, tzinfo=timezone(timedelta(hours=9)))
    assert slurm.accounting(since) == []
    argv = hands.asked[0][0]
    assert "--starttime=2026-11-24T00:30:00" in argv
    assert "--endtime=now" in argv  # which --state needs
    assert "--array" not in argv  # 22.05 has no such option of sacct


@pytest.mark.parametrize(
    ("ask", "command"),
    [
        (lambda s: s.queue(), "squeue"),
        (lambda s: s.accounting(datetime(2026, 11, 24, tzinfo=UTC)), "sacct"),
        (lambda s: s.limits(), "scontrol"),
        (lambda s: s.partitions(), "sinfo"),
    ],
)
def test_a_question_without_an_answer_is_no_news(ask, command) -> None:  # type: ignore[no-untyped-def]
    said = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    slurm, _ = backend(fails(said), fails("", 1), fails("", -9))
    with pytest.raises(SiteError, match=rf"^{command}: Unable to contact slurm controller"):
        ask(slurm)
    with pytest.raises(SiteError, match=f"^{command}: exit code 1"):
        ask(slurm)
    with pytest.raises(SiteError, match=f"^{command}: exit code -9"):
        ask(slurm)


def test_many_jobs_are_canceled_by_commands_of_bounded_length() -> None:
    slurm, hands = backend(*[CommandResult(0, "", "")] * 3)
    slurm.cancel([str(n) for n in range(450)])
    assert [len(argv) - 1 for argv, _, _ in hands.asked] == [200, 200, 50]
    slurm.cancel([])
    assert len(hands.asked) == 3


@pytest.mark.parametrize(
    "said",
    [
        "scancel: error: Kill job error on job id 77: Invalid job id specified",
        "scancel: error: Kill job error on job id 77_3: Job/step already completing or completed",
        "scancel: error: Kill job error on job id 77_3: Job has already finished",
    ],
)
def test_a_job_that_has_ended_already_is_no_error(said: str) -> None:
    slurm, hands = backend(fails(f"{said}\n"))
    slurm.cancel(["77"])
    assert hands.asked[0][0] == ["scancel", "77"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("scancel: error: Kill job error on job id 77: Access/permission denied", 1),
        ("scancel: error: Unable to contact slurm controller (connect failure)", 1),
        ("", 1),
        ("", -9),
        ("scancel: error: Kill job error on job id 7: Invalid job id specified", -9),
    ],
)
def test_a_cancel_that_may_not_have_reached_slurm_is_told(said: str, code: int) -> None:
    slurm, _ = backend(fails(said, code))
    with pytest.raises(SiteError, match=r"^scancel: ") as caught:
        slurm.cancel(["77"])
    assert re.search(r"denied|connect failure|exit code|signal", str(caught.value))
