"""A container on several nodes: what srun is asked for, what each node has of its own, and how it ends."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from gateway.agent.batch import _outcome
from gateway.agent.files import StepResult
from gateway.agent.mailbox import Stop
from gateway.agent.nodes import worst
from gateway.agent.place import Place, read_slurm
from gateway.agent.srun import arguments
from tests.agent.conftest import SLURM, Site


def _srun(site: Site, phase: str, **job: object) -> list[str]:
    changes: dict[str, Any] = {"nodes": 1, "gpus": 0, **job}
    words = arguments(site.job(**changes), "/j/job.json", 0, phase)
    return words[1 : words.index("/usr/bin/python3")]


def test_the_run_step_alone_is_on_all_nodes_and_waits_for_all_of_them(site: Site) -> None:
    run = _srun(site, "run", nodes=3)
    for word in ("--nodes=3", "--ntasks=3", "--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=0"):  # fmt: skip
        assert word in run
    for phase in ("stage-in", "stage-out"):
        assert {"--nodes=1", "--ntasks=1", "--relative=0"} <= set(_srun(site, phase, nodes=3))
    assert not {"--relative=0", "--ntasks-per-node=1"} & set(_srun(site, "run"))


def test_the_run_step_alone_holds_gpus(site: Site) -> None:
    assert "--gpus-per-task=2" in _srun(site, "run", gpus=2)
    for phase in ("stage-in", "stage-out"):
        words = _srun(site, phase, gpus=2)
        assert "--gres=none" in words
        assert not [word for word in words if "gpus" in word]
    assert not [word for word in _srun(site, "run") if "gpus" in word or "gres" in word]


def test_each_node_has_its_own_tmp_and_logs_and_shares_inputs_and_outputs(site: Site) -> None:
    job = site.job(nodes=2)
    first = Place(job, 0, SLURM)
    other = Place(job, 0, read_slurm({"SLURM_PROCID": "1"}))
    first.clean_start()
    assert (first.inputs, first.outputs) == (other.inputs, other.outputs)
    assert first.tmp != other.tmp
    assert first.tmp.is_dir()
    assert other.tmp.is_dir()
    assert (first.log("stdout").name, other.log("stdout").name) == ("stdout", "stdout.1")
    assert first.step_file("run") != other.step_file("run")
    other.log("stderr").write_text("x")
    first.clean_start()
    assert not other.log("stderr").exists()
    first.clean_end(keep_outputs=False)
    assert sorted(path.name for path in site.base.iterdir()) == [".attempt", "grants"]


def test_a_rank_that_the_job_has_no_node_for_is_the_first(site: Site) -> None:
    assert Place(site.job(), 0, read_slurm({"SLURM_PROCID": "5"})).log("stdout").name == "stdout"


def test_the_step_has_begun_when_it_has_on_all_nodes(site: Site) -> None:
    job = site.job(nodes=2)
    place = Place(job, 0, SLURM)
    place.begun_file("run", 1).touch()
    assert place.begun("run") == [False, True]
    place.begun_file("stage-out").touch()
    assert place.begun("stage-out") == [True]


@pytest.mark.parametrize(
    ("codes", "wanted"), [((0, 0), 0), ((0, 3), 3), ((7, 3), 7), ((0, 137), 137)]
)
def test_the_worst_node_is_the_result(codes: tuple[int, int], wanted: int) -> None:
    results = [
        StepResult("container-failed" if code else "ok", code, error="it failed" if code else None)
        for code in codes
    ]
    found = worst(results)
    assert found.exit_code == wanted
    assert found.outcome == ("container-failed" if wanted else "ok")
    at = codes.index(wanted)
    assert found.error == (f"it failed (on node {at} of 2, from 0)" if wanted else None)


def test_what_did_not_get_to_an_exit_code_is_worse_than_any(site: Site) -> None:
    results = [StepResult("container-failed", 255), StepResult("agent-failed", error="lost")]
    assert worst(results).outcome == "agent-failed"
    ran_out = [StepResult("ok", 0), StepResult("ok", 0, memory_ran_out=True, log_truncated=True)]
    assert worst(ran_out).memory_ran_out
    assert worst(ran_out).log_truncated


def test_a_node_that_says_nothing_fails_the_container(site: Site) -> None:
    job = site.job(nodes=2)
    place = Place(job, 0, SLURM)
    StepResult("ok", 0).write(place.step_file("run", 0))
    place.begun_file("run", 1).touch()
    found = _outcome("run", 137, place, Stop())
    assert (found.outcome, found.exit_code, found.signal) == (
        "container-failed",
        137,
        signal.SIGKILL,
    )
    assert "(on node 1 of 2, from 0)" in (found.error or "")
