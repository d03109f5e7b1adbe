"""Cancel in the states that only a fault holds still: nothing of the job is in Slurm afterwards, and who did it is told."""

from __future__ import annotations

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import asleep, left_in_slurm, retry_waits, sbatch_runs, slurm_jobs_of

READS = [f"sample-data/reads/sample-{n}.txt" for n in range(2, 5)]


def _cancel(site: DevCluster, job_id: str, user: str) -> None:
    """Cancel a job, and again, and see that it is told whose doing that was."""
    site.run("cts", "cancel", job_id, user=user)
    _canceled(site, job_id, user)
    before = site.job(job_id)["transition_times"]
    site.run("cts", "cancel", job_id, user=user)
    assert site.job(job_id)["transition_times"] == before


def _canceled(site: DevCluster, job_id: str, user: str) -> None:
    job = site.finish(job_id)
    assert job["state"] == "canceled", job
    assert job["cancel_by"] == user
    who = f"admin {user}" if user == "ada" else user
    assert f"canceled by {who}" in [row["detail"] for row in job["transition_times"]]
    assert left_in_slurm(site, job_id) == []


@pytest.mark.parametrize("user", ["alice", "ada"])
def test_a_job_whose_inputs_are_being_staged_in_is_canceled(site: DevCluster, user: str) -> None:
    image = site.image("checksum")
    with asleep(site, "slurmctld"):
        job_id = site.submit(image=image, input_files=READS)
        site.tool("kill", "rgw")
    site.until(lambda: site.job(job_id)["phase"] == "stage-in")
    _cancel(site, job_id, user)


@pytest.mark.parametrize("user", ["alice", "ada"])
def test_a_job_whose_outputs_are_being_uploaded_is_canceled(site: DevCluster, user: str) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["2"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("kill", "rgw")
    site.until(lambda: site.job(job_id)["phase"] == "stage-out")
    _cancel(site, job_id, user)


@pytest.mark.parametrize("killed", [False, True], ids=["running-daemon", "killed-daemon"])
def test_a_job_of_which_nobody_knows_whether_slurm_has_it_is_canceled_once_that_is_known(
    site: DevCluster, killed: bool
) -> None:
    image = site.image("sleep")
    with asleep(site, "slurmctld"):
        job_id = site.submit(image=image, params={"args": ["300"]}, runtime=600)
        sbatch_runs(site)
        site.run("cts", "cancel", job_id)
        assert site.job(job_id)["state"] == "canceling"
        if killed:
            site.tool("kill", "gateway")
            site.tool("start", "gateway")
    _canceled(site, job_id, "alice")
    assert len(slurm_jobs_of(site, job_id)) <= 1


@pytest.mark.parametrize("user", ["alice", "ada"])
def test_a_job_that_waits_for_a_retry_is_canceled(site: DevCluster, user: str) -> None:
    with retry_waits(site) as job_id:
        _cancel(site, job_id, user)
    assert len(slurm_jobs_of(site, job_id)) == 1
