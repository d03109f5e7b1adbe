"""Exactly one Slurm job for a gateway job, whatever dies between `submitting` and `submitted`."""

from __future__ import annotations

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of


def _submit_into_a_silent_slurm(site: DevCluster) -> str:
    image = site.image("checksum")
    site.run("curl", "-sf", "--unix-socket", "/run/cts/cts.sock", "http://cts/ready")
    site.run("pkill", "-STOP", "-x", "slurmctld", user="root")
    job_id = site.submit(image=image)
    site.until(lambda: site.run("pgrep", "-x", "sbatch", user="root", check=False).returncode == 0)
    assert site.job(job_id)["phase"] == "submitting"
    return job_id


def test_a_daemon_killed_before_slurm_answered_sbatch_submits_nothing_twice(
    site: DevCluster,
) -> None:
    job_id = _submit_into_a_silent_slurm(site)
    site.tool("kill", "gateway")
    site.tool("start", "gateway")
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    assert len(job["slurm_jobs"]) == 1


def test_a_daemon_killed_after_slurm_took_the_job_but_before_it_was_written_down_adopts_it(
    site: DevCluster,
) -> None:
    job_id = _submit_into_a_silent_slurm(site)
    site.run("pkill", "-STOP", "-x", "-u", "ctsd", "ctsd", user="root")
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    site.until(lambda: len(slurm_jobs_of(site, job_id)) == 1)
    site.tool("kill", "gateway")
    site.tool("start", "gateway")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    assert len(job["slurm_jobs"]) == 1


def test_a_slurmctld_that_restarts_while_a_job_runs_loses_nothing(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["3"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("restart", "slurmctld")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1
