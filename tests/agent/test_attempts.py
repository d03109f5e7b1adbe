"""A container that is run again: its logs are kept; and outputs that are uploaded without running it."""

from __future__ import annotations

import json

from tests.agent.fakes import status
from tests.agent.site import Site
from tests.agent.task import Task

COPY = 'cp "$IN"/* "$OUT"/; echo out'


def test_logs_of_earlier_attempts_are_kept_by_their_number(task: Task, site: Site) -> None:
    task.run("echo first; echo bad >&2; exit 7")
    ended = task.run("echo second; exit 7", number=1, attempt=2)
    assert ended.result["submission"] == 1
    assert task.run("echo third", number=2, attempt=3).outcome == ("ok", 0)
    logs = {p.name: p.read_text() for p in site.base.iterdir() if p.name.startswith("std")}
    assert logs == {
        "stdout.attempt-1": "first\n",
        "stderr.attempt-1": "bad\n",
        "stdout.attempt-2": "second\n",
        "stderr.attempt-2": "",
        "stdout": "third\n",
        "stderr": "",
    }


def test_a_run_that_slurm_requeued_is_the_same_attempt_and_begins_its_logs_anew(
    task: Task, site: Site
) -> None:
    task.run("echo first; exit 7")
    task.run("echo again", environ={"SLURM_RESTART_COUNT": "1"})
    assert sorted(p.name for p in site.base.iterdir() if p.name.startswith("std")) == [
        "stderr",
        "stdout",
    ]
    assert (site.base / "stdout").read_text() == "again\n"


def test_outputs_that_did_not_get_to_s3_are_uploaded_without_running_again(
    task: Task, site: Site
) -> None:
    site.s3.fault(status(400, "InvalidRequest"), method="PUT", key="out/a.txt", times=9)
    first = task.run(COPY)
    assert first.outcome == ("stage-out-failed", 0)
    site.s3.heal()
    (site.work / "srun-calls").unlink()
    ended = task.run("exit 9", number=1, submission={"upload_only": True})
    assert ended.outcome == ("ok", 0), ended.printed
    assert ended.result["submission"] == 1
    assert [o["path"] for o in ended.result["outputs"]] == ["a.txt"]
    assert site.s3.objects["out/a.txt"].data == b"hello"
    assert "--job-name=run" not in (site.work / "srun-calls").read_text()
    assert ended.result["times"]["run"] == first.result["times"]["run"]
    assert ended.result["bytes_in"] == 5
    assert (site.base / "stdout").read_text() == "out\n"
    assert not (site.base / "out").exists()


def test_an_upload_that_fails_again_keeps_the_outputs_for_the_next(task: Task, site: Site) -> None:
    site.s3.fault(status(400, "InvalidRequest"), method="PUT", key="out/a.txt", times=99)
    task.run(COPY)
    ended = task.run("exit 9", number=1, submission={"upload_only": True})
    assert ended.outcome == ("stage-out-failed", 0)
    assert (site.base / "out" / "a.txt").read_text() == "hello"


def test_an_upload_of_what_is_not_there_says_so(task: Task, site: Site) -> None:
    ended = task.run("exit 9", submission={"upload_only": True})
    assert ended.outcome == ("agent-failed", None)
    assert "nothing is kept of its run" in ended.error
    (site.base / "result.json").write_text(
        json.dumps(ended.result | {"exit_code": 0, "outcome": "stage-out-failed"})
    )
    ended = task.run("exit 9", number=1, submission={"upload_only": True})
    assert ended.outcome == ("stage-out-failed", 0)
    assert "nothing is kept of its outputs" in ended.error, ended.printed
