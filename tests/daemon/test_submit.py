"""Submitting: what becomes of a job for each answer of Slurm, and whom it holds up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from tests.daemon.world import SECRET, World

LIMIT = "sbatch: AssocMaxSubmitJobLimit; Job violates accounting/QOS policy"


def test_a_stored_job_is_prepared_submitted_and_pending_in_one_look(world: World) -> None:
    number, slurm = world.submit(2)
    assert world.phases(number) == ["created", "submitting", "pending"]
    assert [c.phase for c in world.containers(number)] == ["pending"] * 2
    assert {c.slurm_job_id for c in world.containers(number)} == {slurm}
    assert world.slurm.jobs[slurm].tasks == 2
    assert world.slurm.jobs[slurm].script == world.submissions(number)[0].script


def test_the_row_says_submitting_and_has_its_tag_before_sbatch_is_called(world: World) -> None:
    seen: list[tuple[str, str]] = []
    submit = world.slurm.submit

    def watching(script: str) -> str:
        seen.append((world.submissions(number)[0].state, world.submissions(number)[0].tag))
        return submit(script)

    world.slurm.submit = watching  # type: ignore[method-assign]
    number = world.add()
    world.submitter.tick()
    assert seen == [("submitting", world.slurm.jobs["100"].comment)]


def test_the_other_loops_are_woken_by_a_submission(world: World) -> None:
    world.submit()
    assert world.site.poll_wake.is_set()
    assert world.site.mail_wake.is_set()


def test_a_job_that_slurm_cannot_take_now_stays_prepared_with_slurms_words_and_is_tried_again(
    world: World,
) -> None:
    world.slurm.answers = [SubmitLaterError(LIMIT)]
    number = world.add()
    world.submitter.tick()
    assert world.submissions(number)[0].state == "prepared"
    assert world.job(number).reason == LIMIT
    world.clock.forward(14)
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 1
    world.clock.forward(2)
    world.submitter.tick()
    assert world.job(number).phase == "pending"
    assert world.job(number).reason is None
    assert world.submissions(number)[0].attempts == 2


def test_a_limit_that_is_reached_for_all_costs_slurm_ten_tries_and_is_shown_at_all(
    world: World,
) -> None:
    jobs = [world.add() for _ in range(12)]
    world.slurm.answers = [SubmitLaterError(LIMIT) for _ in jobs]
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 10
    assert {world.job(number).reason for number in jobs} == {LIMIT}
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 12  # each of them had its turn
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 12
    world.clock.forward(16)
    world.submitter.tick()
    assert {world.job(number).phase for number in jobs} == {"pending"}


def test_a_job_that_slurm_refuses_ends_in_error_with_slurms_words(world: World) -> None:
    world.slurm.answers = [SubmitRefusedError("Invalid qos specification")]
    number = world.add(2)
    world.submitter.tick()
    world.poll()
    job = world.job(number)
    assert job.phase == "error"
    assert "Slurm refused the job: Invalid qos specification" in (job.error or "")
    assert [c.error for c in world.containers(number)] == [
        "Slurm refused the job: Invalid qos specification"
    ] * 2
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 1


def test_no_answer_is_told_and_the_job_is_looked_up_before_it_is_submitted_again(
    world: World,
) -> None:
    world.slurm.answers = [SiteError("sbatch gave no answer in 180 s")]
    number = world.add()
    with pytest.raises(SiteError):
        world.submitter.tick()
    assert "is not known: sbatch gave no answer in 180 s" in (world.job(number).reason or "")
    world.submitter.tick()
    assert world.slurm.calls["queue"] == 0  # a late sbatch is given time to show
    world.clock.forward(6)
    world.submitter.tick()
    assert world.slurm.calls == {**world.slurm.calls, "queue": 1, "submit": 1}
    assert "it is looked up once more" in (world.job(number).reason or "")
    world.clock.forward(9)
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 1  # slurmctld may still read what sbatch sent
    world.clock.forward(1)
    world.submitter.tick()
    assert world.slurm.calls["queue"] == 2
    assert world.slurm.calls["submit"] == 2
    assert world.job(number).phase == "pending"


def test_what_may_still_come_to_slurm_is_not_submitted_again_but_adopted_at_once(
    world: World,
) -> None:
    world.slurm.late = 300.0  # as over slurmrestd
    number = _lost(world)
    late = dict(world.slurm.tasks)
    world.slurm.forget("100")
    for _ in range(28):
        world.submitter.tick()
        world.clock.forward(10)
    assert world.slurm.calls["submit"] == 1
    world.slurm.tasks = late
    world.submitter.tick()
    assert world.submissions(number)[0].slurm_job_id == "100"
    assert world.slurm.calls["submit"] == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_what_cannot_come_to_slurm_any_more_is_submitted_again(
    world: World, restarted: bool
) -> None:
    world.slurm.late = 300.0
    _lost(world)
    world.slurm.forget("100")
    if restarted:  # a daemon that died has left no word of when the answer was lost
        world.clock.forward(10_000)
        world.restart()
    begin = world.clock()
    while world.slurm.calls["submit"] == 1:
        world.submitter.tick()
        world.clock.forward(10)
    assert world.clock() - begin >= (300 if restarted else 290)


def test_a_request_that_slurm_handles_between_two_look_ups_is_adopted(world: World) -> None:
    number = _lost(world)
    late = dict(world.slurm.tasks)
    world.slurm.forget("100")
    world.submitter.tick()
    assert world.submissions(number)[0].state == "submitting"
    world.slurm.tasks = late
    world.clock.forward(10)
    world.submitter.tick()
    assert world.submissions(number)[0].slurm_job_id == "100"
    assert world.slurm.calls["submit"] == 1


def _lost(world: World) -> int:
    """Have Slurm take a job while its answer is lost."""
    world.slurm.loses_answer = True
    number = world.add()
    with pytest.raises(SiteError):
        world.submitter.tick()
    world.slurm.loses_answer = False
    world.clock.forward(6)
    return number


def _adopted(world: World, number: int) -> bool:
    world.submitter.tick()
    found = world.submissions(number)[0].slurm_job_id
    assert world.slurm.calls["submit"] == 1
    return found == "100" and world.job(number).phase == "pending"


def test_a_job_whose_answer_was_lost_is_adopted_by_its_comment_in_squeue(world: World) -> None:
    assert _adopted(world, _lost(world))
    assert world.slurm.calls["accounting"] == 0


def test_a_job_that_left_squeue_is_adopted_by_its_comment_in_the_accounting(world: World) -> None:
    number = _lost(world)
    world.slurm.record("100", 0, "COMPLETED")
    world.slurm.forget("100")
    assert _adopted(world, number)


def test_a_job_is_adopted_by_its_name_where_the_accounting_keeps_no_comments(world: World) -> None:
    number = _lost(world)
    world.slurm.record("100", 0, "COMPLETED")
    world.slurm.records = {
        key: type(row)(**{**row.__dict__, "comment": ""})
        for key, row in world.slurm.records.items()
    }
    world.slurm.forget("100")
    assert _adopted(world, number)


def test_a_job_that_only_its_claim_knows_is_adopted_though_the_accounting_is_away(
    world: World,
) -> None:
    number = _lost(world)
    world.slurm.forget("100")
    world.slurm.away = {"accounting"}
    (Path(world.site.job_dir(number)) / "claim-0").write_text("100\n")
    assert _adopted(world, number)


@pytest.mark.parametrize("claim", [b"--user=root", b"", b"100 200", b"\xff\xfe", b"1" * 50])
def test_a_claim_that_is_no_slurm_job_is_never_taken_for_one(world: World, claim: bytes) -> None:
    number = _lost(world)
    world.slurm.forget("100")
    (Path(world.site.job_dir(number)) / "claim-0").write_bytes(claim)
    for _ in range(2):
        world.submitter.tick()
        world.clock.forward(10)
    assert world.submissions(number)[0].slurm_job_id == "101"


def test_while_the_accounting_is_away_nothing_is_submitted_twice_and_no_other_job_waits(
    world: World,
) -> None:
    number = _lost(world)
    world.slurm.forget("100")
    world.slurm.away = {"accounting"}
    other = world.add()
    world.submitter.tick()
    assert world.submissions(number)[0].state == "submitting"
    assert "the accounting does not answer" in (world.job(number).reason or "")
    assert world.job(other).phase == "pending"
    world.slurm.away = set()
    world.slurm.record("100", 0, "RUNNING", ended=False)
    world.clock.forward(6)
    world.submitter.tick()
    assert world.submissions(number)[0].slurm_job_id == "100"


def test_a_squeue_that_fails_resolves_nothing(world: World) -> None:
    number = _lost(world)
    world.slurm.away = {"queue"}
    with pytest.raises(SiteError):
        world.submitter.tick()
    assert world.submissions(number)[0].state == "submitting"
    assert world.slurm.calls["submit"] == 1


def test_answers_that_stay_unknown_are_looked_up_less_and_less_often(world: World) -> None:
    number = world.add()
    world.slurm.answers = [SiteError("sbatch: something new")] * 4
    asked = []
    while world.job(number).phase != "pending":
        world.clock.forward(1)
        before = world.slurm.calls["submit"]
        with suppress(SiteError):
            world.submitter.tick()
        if world.slurm.calls["submit"] > before:
            asked.append(world.clock.now)
    assert [late - early for early, late in pairwise(asked)] == [15, 20, 30, 50]


def test_a_large_job_becomes_several_arrays_that_cover_each_container_once(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_array_size=4)
    number, _ = world.submit(10)
    rows = world.submissions(number)
    assert [(row.number, row.containers) for row in rows] == [
        (0, [0, 1, 2, 3]),
        (1, [4, 5, 6, 7]),
        (2, [8, 9]),
    ]
    assert [world.slurm.jobs[row.slurm_job_id or ""].tasks for row in rows] == [4, 4, 2]
    ids = [row.slurm_job_id for row in rows]
    assert sorted(map(str, ids)) == ["100", "101", "102"]  # they were handed over side by side
    found = [c.slurm_job_id for c in world.containers(number)]
    assert found == [ids[0]] * 4 + [ids[1]] * 4 + [ids[2]] * 2
    for row in rows:
        assert (row.script or "").rstrip().endswith(f"job.json {row.number}")


def test_a_large_job_is_pending_only_when_all_of_its_arrays_are_submitted(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_array_size=4)
    number = world.add(8)
    submit = world.slurm.submit

    def second_waits(script: str) -> str:
        if script.endswith("submit-1.sbatch") and world.clock.now < 1010:
            raise SubmitLaterError(LIMIT)
        return submit(script)

    world.slurm.submit = second_waits  # type: ignore[method-assign]
    world.submitter.tick()
    assert world.job(number).phase == "submitting"
    assert world.job(number).reason == LIMIT
    assert [c.phase for c in world.containers(number)] == ["pending"] * 4 + ["submitting"] * 4
    world.clock.forward(16)
    world.submitter.tick()
    assert world.job(number).phase == "pending"


def test_an_array_that_is_refused_ends_its_own_containers_and_the_others_run_on(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_array_size=1)
    world.slurm.answers = [SubmitRefusedError("no")]
    number = world.add(2)
    world.submitter.tick()
    assert [c.phase for c in world.containers(number)] == ["error", "pending"]
    assert world.job(number).phase == "pending"
    world.upload(number, {"b": b"x"}, 1)
    world.result(number, 1, outputs=["b"])
    world.slurm.set("100", 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "error"
    assert (world.job(number).error or "").startswith("1 of 2 containers failed; the first:")


def test_a_mistake_over_one_job_keeps_no_other_back_and_is_that_jobs_reason(world: World) -> None:
    bad = world.add(image={"name": "x"})  # job.json cannot be made of it
    good = world.add()
    world.submitter.tick()
    assert world.job(good).phase == "pending"
    assert "making its files failed and is tried again" in (world.job(bad).reason or "")
    assert "KeyError: 'digest'" in (world.job(bad).reason or "")
    world.change(world.job(bad), image=world.job(good).image)
    world.submitter.tick()
    assert world.job(bad).phase == "pending"
    assert world.job(bad).reason is None


def test_a_template_that_is_wrong_is_the_reason_that_is_shown(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    template = tmp_path / "own.sbatch.j2"
    template.write_text("#!/bin/sh\n{{ v.partitoin }}\n")
    world = make_world(template=str(template))
    number = world.add()
    world.submitter.tick()
    assert f"template {template}, line 2" in (world.job(number).reason or "")
    assert world.slurm.calls["submit"] == 0


@pytest.mark.parametrize("at", ["created", "prepared", "unknown", "lost", "submitted"])
def test_a_job_can_be_canceled_at_each_point(world: World, at: str) -> None:
    number = world.add(2)
    if at == "prepared":
        world.slurm.answers = [SubmitLaterError(LIMIT)]
        world.submitter.tick()
    elif at == "unknown":
        world.slurm.answers = [SiteError("no answer")]
        with pytest.raises(SiteError):
            world.submitter.tick()
    elif at == "lost":
        world.slurm.loses_answer = True
        with pytest.raises(SiteError):
            world.submitter.tick()
    elif at == "submitted":
        world.submitter.tick()
    world.cancel(number)
    queued = at in ("lost", "submitted")
    if at in ("unknown", "lost"):
        world.poll()
        assert world.job(number).phase == "canceling"  # Slurm may have it
    for _ in range(2):
        world.clock.forward(20)
        world.submitter.tick()
    world.poll()
    assert world.slurm.canceled == (["100"] if queued else [])
    if queued:
        assert world.job(number).phase == "canceling"
        for task in range(2):
            world.slurm.set("100", task, "CANCELLED")
        world.settle()
    assert world.job(number).phase == "canceled"
    assert [c.phase for c in world.containers(number)] == ["canceled"] * 2
    assert len(world.slurm.jobs) == (1 if queued else 0)


def test_a_job_that_is_canceled_while_its_files_are_written_is_not_submitted(world: World) -> None:
    number = world.add()
    write = world.site.hands.write_files

    def canceling(files: list[tuple[str, bytes]]) -> None:
        write(files)
        if any(path.endswith(".sbatch") for path, _ in files):
            world.cancel(number)

    world.site.hands.write_files = canceling  # type: ignore[method-assign,assignment]
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 0
    world.poll()
    assert world.job(number).phase == "canceled"


def test_slurm_that_does_not_tell_its_limits_holds_new_jobs(world: World) -> None:
    world.slurm.away = {"limits"}
    number = world.add()
    with pytest.raises(SiteError):
        world.submitter.tick()
    assert world.job(number).phase == "created"
    world.slurm.away = set()
    world.submitter.tick()
    assert world.job(number).phase == "pending"


def test_no_secret_is_in_the_script_and_only_the_jobs_token_in_its_files(world: World) -> None:
    number, slurm = world.submit()
    token = world.job(number).token
    assert token not in world.slurm.jobs[slurm].script
    folder = Path(world.site.job_dir(number))
    texts = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {name for name, text in texts.items() if token in text} == {"job.json"}
    assert json.loads(texts["job.json"])["token"] == token
    for text in texts.values():
        assert "aws_" not in text
        assert str(world.config.s3.credentials_file) not in text
        assert SECRET not in text


def test_a_work_directory_that_came_back_empty_has_the_agent_before_anything_is_submitted(
    make_world: Callable[..., World],
) -> None:
    world = make_world(own_agent=True)
    world.submit()
    agent = Path(world.site.agent())
    shutil.rmtree(world.site.work)
    number, slurm = world.submit()
    assert slurm
    assert (agent / "complete").exists()
    assert (agent / "__main__.py").exists()
    assert Path(world.site.mailbox).is_dir()
    assert str(agent) in world.slurm.jobs[slurm].script
    assert world.job(number).phase == "pending"
