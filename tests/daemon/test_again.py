"""Containers that are run again: by the retries of their job, or because an admin restarts it; and uploads retried."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.restarts import Restarts
from gateway.jobs.sites import Sites
from tests.daemon.test_exactly_once import Killed, Mortal
from tests.daemon.world import ADA, World


def _fail(world: World, number: int, slurm: str, index: int = 0, code: int = 7) -> None:
    submission = len(world.submissions(number)) - 1
    world.result(number, index, "container-failed", exit_code=code, submission=submission)
    task = world.container(number, index).task or 0
    world.slurm.set(slurm, task, "FAILED", node="n1")
    world.slurm.record(slurm, task, "FAILED")


def _admin(world: World) -> Restarts:
    return Restarts(world.database, lambda _: None)


def test_a_container_that_fails_by_itself_is_run_again_as_often_as_was_asked(world: World) -> None:
    number, slurm = world.submit(2, retries=2)
    world.complete(number, slurm, 0)
    for attempt in (1, 2):
        _fail(world, number, slurm, 1)
        world.settle()
        assert world.job(number).phase != "error"
        world.submitter.tick()
        again = world.submissions(number)[-1]
        assert (again.number, again.containers) == (attempt, [1])
        slurm = again.slurm_job_id or ""
        row = world.container(number, 1)
        assert (row.phase, row.slurm_job_id, row.task) == ("pending", slurm, 0)
        assert [e["exit_code"] for e in row.earlier] == [7] * attempt
        document = json.loads((world.folder(number, 1) / "container.json").read_text())
        assert document["attempt"] == attempt + 1
    _fail(world, number, slurm, 1)
    world.settle()
    assert world.job(number).phase == "error"
    assert world.container(number, 1).exit_code == 7
    assert len(world.slurm.jobs) == 3
    assert world.container(number, 0).phase == "complete"


def test_one_that_works_at_the_second_attempt_makes_the_job_complete(world: World) -> None:
    number, slurm = world.submit(retries=1)
    _fail(world, number, slurm)
    world.settle()
    assert world.job(number).phase == "submitting"
    world.submitter.tick()
    world.upload(number, {"x": b"1"})
    world.result(number, outputs=["x"], submission=1)
    world.slurm.set("101", 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"
    assert world.phases(number).count("submitting") == 2


@pytest.mark.parametrize(
    "outcome", ["timeout", "stage-in-failed", "stage-out-failed", "image-failed"]
)
def test_what_is_no_failure_of_the_container_itself_is_not_retried(
    world: World, outcome: str
) -> None:
    number, slurm = world.submit(retries=3)
    world.result(number, 0, outcome, exit_code=0 if outcome == "stage-out-failed" else None)
    world.slurm.set(slurm, 0, "FAILED")
    world.slurm.record(slurm, 0, "FAILED")
    world.settle()
    assert world.job(number).phase == "error"


def test_a_canceled_job_retries_nothing_and_one_that_waits_for_a_retry_can_be_canceled(
    world: World,
) -> None:
    number, slurm = world.submit(retries=1)
    world.cancel(number)
    _fail(world, number, slurm)
    world.settle()
    assert world.job(number).phase == "canceled"
    number, slurm = world.submit(retries=1)
    _fail(world, number, slurm)
    world.settle()
    assert world.container(number).phase == "created"
    world.cancel(number, "ada")
    world.poll()
    assert world.job(number).phase == "canceled"
    world.submitter.tick()
    assert len(world.submissions(number)) == 1


def test_the_result_of_an_earlier_attempt_is_no_result_of_the_next(world: World) -> None:
    number, slurm = world.submit(retries=1)
    _fail(world, number, slurm)
    world.settle()
    world.submitter.tick()
    world.letter(number, "result", submission=0)  # late; its result.json is still there
    world.letter(number, "phase", phase="stage-out", submission=0)
    world.mailbox.tick()
    row = world.container(number)
    assert (row.phase, row.result) == ("pending", None)
    world.slurm.set("101", 0, "RUNNING")
    world.poll()
    assert world.container(number).result is None


def test_every_step_of_a_retry_may_be_the_last_one_of_a_daemon(
    make_world: Callable[..., World],
) -> None:
    for at in itertools.count(1):
        world = make_world()
        number, slurm = world.submit(2, retries=1)
        world.complete(number, slurm, 0)
        _fail(world, number, slurm, 1)
        mortal = Mortal(world, at)
        with suppress(Killed):
            world.settle()
            world.submitter.tick()
        del world.slurm.submit, world.database.write
        world.restart()
        for _ in range(5):
            world.clock.forward(10)
            world.settle()
            world.submitter.tick()
        assert len(world.slurm.jobs) == 2, mortal.steps
        assert world.slurm.calls["submit"] == 2, mortal.steps
        assert [s.containers for s in world.submissions(number)] == [[0, 1], [1]], mortal.steps
        assert len(world.container(number, 1).earlier) == 1, mortal.steps
        if len(mortal.steps) < at:
            break
    assert at > 6


def test_a_restart_runs_what_is_missing_and_leaves_the_rest(world: World) -> None:
    number, slurm = world.submit(3)
    for index in (0, 2):
        world.complete(number, slurm, index)
    _fail(world, number, slurm, 1)
    world.settle()
    assert world.job(number).phase == "error"
    world.change(world.job(number), cleaned=True, usage_final=True)
    (world.folder(number, 1) / "container.json").unlink()
    _admin(world).restart(ADA, number)
    job = world.job(number)
    assert (job.phase, job.error, job.cleaned, job.usage_final) == (
        "submitting",
        None,
        False,
        False,
    )
    world.poll(31)  # nothing that is known of the end comes back
    world.submitter.tick()
    assert world.submissions(number)[-1].containers == [1]
    assert (world.folder(number, 1) / "container.json").exists()
    world.upload(number, {"x": b"1"}, 1)
    world.result(number, 1, outputs=["x"], submission=1)
    world.slurm.set("101", 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"
    assert world.job(number).output_file_count == 3
    assert world.phases(number)[-5:].count("submitting") == 1


def test_only_a_job_in_error_is_restarted_and_one_of_which_nothing_is_missing_is_not(
    world: World,
) -> None:
    number, slurm = world.submit()
    with pytest.raises(GatewayError, match="is job_submitted") as refused:
        _admin(world).restart(ADA, number)
    assert refused.value.code is AppCode.INVALID_JOB_STATE
    world.result(number)
    world.slurm.set(slurm, 0, "COMPLETED")
    world.settle()
    assert "wrote no file" in (world.job(number).error or "")
    with pytest.raises(GatewayError, match="Nothing of job"):
        _admin(world).restart(ADA, number)
    with pytest.raises(GatewayError, match="There is no job 99"):
        _admin(world).restart(ADA, 99)


def test_outputs_that_were_kept_are_uploaded_by_a_submission_that_runs_nothing(
    world: World,
) -> None:
    number, slurm = world.submit(2)
    world.complete(number, slurm, 0)
    world.result(number, 1, "stage-out-failed", exit_code=0, error="S3 is away")
    world.slurm.set(slurm, 1, "FAILED")
    world.slurm.record(slurm, 1, "FAILED")
    world.settle()
    assert world.job(number).phase == "error"
    _admin(world).upload(ADA, number)
    world.submitter.tick()
    row = world.submissions(number)[-1]
    assert (row.containers, row.upload_only) == ([1], True)
    listed = json.loads((world.folder(number).parent / "submit-1.json").read_text())
    assert listed["upload_only"] is True
    world.poll()
    assert world.container(number, 1).exit_code == 0  # it has run, whatever becomes of the upload
    world.upload(number, {"x": b"1"}, 1)
    world.result(number, 1, outputs=["x"], submission=1)
    world.slurm.set("101", 0, "COMPLETED")
    world.settle()
    assert world.job(number).phase == "complete"
    assert world.container(number, 1).earlier == []


def test_an_upload_of_a_job_that_has_nothing_kept_is_refused_with_the_reason(world: World) -> None:
    number, slurm = world.submit()
    _fail(world, number, slurm)
    world.settle()
    with pytest.raises(GatewayError, match="none of its containers exited 0"):
        _admin(world).upload(ADA, number)
    world.change(world.job(number), cleaned=True)
    with pytest.raises(GatewayError, match="were removed"):
        _admin(world).upload(ADA, number)


def test_a_retry_that_waits_for_its_site_says_so(world: World) -> None:
    number, slurm = world.submit(retries=1)
    _fail(world, number, slurm)
    world.settle()
    sites = Sites(world.database, {"dev": world.site.section}, lambda _: None, lambda _: None)
    sites.switch(ADA, "dev", active=False, reason="maintenance until noon")
    world.submitter.tick()
    assert world.job(number).reason == "the site dev takes no jobs now: maintenance until noon"
    sites.switch(ADA, "dev", active=True)
    world.submitter.tick()
    assert [row.state for row in world.submissions(number)] == ["submitted", "submitted"]
