"""Slurm's parts go away, nodes are lost, tasks are requeued: no job is lost, none is run twice, each is told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of


def test_a_slurmctld_that_is_away_holds_new_jobs_with_the_reason_shown(site: DevCluster) -> None:
    image = site.image("checksum")
    site.tool("kill", "slurmctld")
    job_id = site.submit(image=image)
    site.until(lambda: "Unable to contact slurm controller" in (site.job(job_id)["reason"] or ""))
    assert site.job(job_id)["state"] in ("created", "job_submitting")
    site.tool("start", "slurmctld")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1


def test_outputs_are_uploaded_and_verified_though_slurmctld_was_away_when_the_container_ended(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["3"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("stop", "slurmctld")
    ended = f"/scratch/cts/jobs/{job_id}/0/.step-run.json"
    site.until(lambda: site.run("test", "-e", ended, user="root", check=False).returncode == 0)
    site.tool("start", "slurmctld")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert site.objects(job["job_input"]["output_dir"]) == {"sample-2.txt": 12}


def test_accounting_that_is_away_delays_no_job_and_its_usage_comes_later(site: DevCluster) -> None:
    site.tool("kill", "slurmdbd")
    good = site.submit(image=site.image("checksum"))
    bad = site.submit(image=site.image("fail"), params={"args": ["7"]})
    assert site.finish(good)["state"] == "complete"
    failed = site.finish(bad)
    assert failed["state"] == "error"
    assert f"container {bad}_0 exited with code 7" in failed["error"]
    site.tool("start", "slurmdbd")
    site.until(lambda: site.job(good)["cpu_hours"] is not None)


def test_a_slurmd_that_is_killed_and_started_again_loses_no_running_container(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["4"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.until(lambda: site.containers(job_id)[0]["node"] is not None)
    node = site.containers(job_id)[0]["node"]
    site.tool("kill", f"slurmd-{node}")
    site.tool("start", f"slurmd-{node}")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1


def test_a_lost_node_is_told_and_its_container_runs_again_on_another(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["6"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.until(lambda: site.containers(job_id)[0]["node"] is not None)
    node = site.containers(job_id)[0]["node"]
    site.tool("kill", f"slurmd-{node}")
    site.run("pkill", "-KILL", "-f", f"slurmstepd: .{job_id}", user="root", check=False)
    site.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test", user="root")
    site.until(lambda: "was requeued by Slurm" in (site.job(job_id)["reason"] or ""))
    site.release(job_id)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert site.containers(job_id)[0]["node"] != node
    assert len(slurm_jobs_of(site, job_id)) == 1


def test_a_task_that_an_operator_requeues_runs_again_and_completes(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["4"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    slurm = site.job(job_id)["slurm_jobs"][0]
    site.run("scontrol", "requeue", f"{slurm}_0", user="root")
    site.until(lambda: "was requeued by Slurm" in (site.job(job_id)["reason"] or ""))
    site.release(job_id)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert job["output_file_count"] == 1


@pytest.fixture(params=["REQUEUE", "CANCEL"])
def preempting(request: pytest.FixtureRequest, site: DevCluster) -> Iterator[str]:
    """What Slurm does with jobs of the partition `regular` whose place is taken."""
    change = ("scontrol", "update", "partitionname=regular")
    site.run(*change, f"PreemptMode={request.param}", user="root")
    yield request.param
    site.run(*change, "PreemptMode=REQUEUE", user="root")


def test_a_preempted_container_runs_again_alone_whoever_puts_it_back(
    site: DevCluster, preempting: str
) -> None:
    job_id = site.submit(
        image=site.image("sleep"),
        input_files=[f"sample-data/reads/sample-{n}.txt" for n in (2, 3)],
        num_containers=2,
        params={"args": ["8"]},
        cpus=9,  # one on a node
    )
    site.until(lambda: all(c["phase"] == "run" and c["node"] for c in site.containers(job_id)))
    node = site.containers(job_id)[1]["node"]
    urgent = ("sbatch", "--parsable", "-A", "dev", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")  # fmt: skip
    site.run(*urgent, user="ctsjob")
    if preempting == "REQUEUE":
        site.until(lambda: "was requeued by Slurm" in (site.job(job_id)["reason"] or ""))
        site.release(job_id)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert job["output_file_count"] == 2
    assert len(slurm_jobs_of(site, job_id)) == (1 if preempting == "REQUEUE" else 2)
    first, second = site.containers(job_id)
    assert (first["attempt"], second["attempt"]) == (1, 1 if preempting == "REQUEUE" else 2)
    if preempting == "CANCEL":
        notes = [row["detail"] or "" for row in job["transition_times"]]
        assert any("(PREEMPTED); run again, 1 of 3 times" in note for note in notes)


def _runs(site: DevCluster, job_id: str, number: int) -> bool:
    return bool(site.containers(job_id)[number]["phase"] == "run")


def test_tasks_that_are_held_back_by_a_throttle_or_suspended_go_on_when_slurm_lets_them(
    site: DevCluster,
) -> None:
    reads = [f"sample-data/reads/sample-{n}.txt" for n in (2, 3)]
    closed = ("scontrol", "update", "partitionname=regular")
    site.run(*closed, "state=down", user="root")
    try:
        job_id = site.submit(
            image=site.image("shell"),
            input_files=reads,
            num_containers=2,
            script="while [ ! -e /output_files/go ]; do sleep 0.2; done",
            params={"declobber": True},
        )
        site.until(lambda: bool(site.job(job_id)["slurm_jobs"]))
        [slurm] = site.job(job_id)["slurm_jobs"]
        site.run("scontrol", "update", f"jobid={slurm}", "arraytaskthrottle=1", user="root")
    finally:
        site.run(*closed, "state=up", user="root")
    site.until(lambda: "its array may have no more" in (site.job(job_id)["reason"] or ""))
    running = site.run("squeue", "-h", "-r", "-t", "R", "-j", slurm, "-o", "%i", user="root").stdout.split()  # fmt: skip
    for task in running:
        site.run("scontrol", "suspend", task, user="root")
    suspended = site.run("squeue", "-h", "-r", "-t", "S", "-j", slurm, "-o", "%i", user="root")
    assert suspended.stdout.split() == running
    site.until(lambda: "SUSPENDED" in {each["slurm_state"] for each in site.containers(job_id)})
    assert site.job(job_id)["state"] == "job_submitted"
    for task in running:
        site.run("scontrol", "resume", task, user="root")
    for number in range(2):
        site.until(partial(_runs, site, job_id, number))
        site.run("touch", f"/scratch/cts/jobs/{job_id}/{number}/out/go", user="root")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1


def test_a_job_that_an_operator_cancels_in_slurm_says_who_did_it(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["100"]}, runtime=300)
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.run("scancel", site.job(job_id)["slurm_jobs"][0], user="root")
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert "CANCELLED" in job["error"]
    assert "by root" in job["error"]


def test_munge_that_restarts_while_jobs_run_harms_none(site: DevCluster) -> None:
    image = site.image("sleep")
    jobs = [site.submit(image=image, params={"args": ["3"]}) for _ in range(2)]
    site.tool("restart", "munge")
    for job_id in jobs:
        job = site.finish(job_id)
        assert job["state"] == "complete", job["error"]
        assert len(slurm_jobs_of(site, job_id)) == 1
