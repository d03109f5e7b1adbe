"""Exactly one Slurm job for each attempt, whatever dies between `submitting` and `submitted`."""

from __future__ import annotations

from tests.conftest import DevCluster
from tests.faults.slurm import asleep, retry_waits, sbatch_runs, slurm_jobs_of


def _submit_into_a_silent_slurm(site: DevCluster, image: str) -> str:
    job_id = site.submit(image=image)
    sbatch_runs(site)
    assert site.job(job_id)["phase"] == "submitting"
    return job_id


def _submitted_once(site: DevCluster, job_id: str) -> None:
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    assert len(job["slurm_jobs"]) == 1


def _retried_once(site: DevCluster, job_id: str) -> None:
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    assert len(job["slurm_jobs"]) == 2
    (container,) = site.containers(job_id)
    assert (container["attempt"], container["exit_code"]) == (2, 7)


def test_a_daemon_killed_before_slurm_answered_sbatch_submits_nothing_twice(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    with asleep(site, "slurmctld"):
        job_id = _submit_into_a_silent_slurm(site, image)
        site.tool("kill", "gateway")
        site.tool("start", "gateway")
    _submitted_once(site, job_id)


def test_a_daemon_killed_after_slurm_took_the_job_but_before_it_was_written_down_adopts_it(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    with asleep(site, "slurmctld"):
        job_id = _submit_into_a_silent_slurm(site, image)
        site.run("pkill", "-STOP", "-x", "-u", "ctsd", "ctsd", user="root")
    site.until(lambda: len(slurm_jobs_of(site, job_id)) == 1)
    site.tool("kill", "gateway")
    site.tool("start", "gateway")
    _submitted_once(site, job_id)


def test_a_daemon_killed_between_the_commit_of_a_retry_and_sbatch_submits_it_once(
    site: DevCluster,
) -> None:
    with retry_waits(site) as job_id:
        site.tool("kill", "gateway")
        site.tool("start", "gateway")
        assert len(slurm_jobs_of(site, job_id)) == 1
    _retried_once(site, job_id)


def test_a_daemon_killed_before_slurm_answered_the_sbatch_of_a_retry_submits_it_once(
    site: DevCluster,
) -> None:
    with retry_waits(site) as job_id, asleep(site, "slurmctld"):
        site.run("cts", "admin", "site", "on", "dev", user="ada")
        sbatch_runs(site)
        site.tool("kill", "gateway")
        site.tool("start", "gateway")
    _retried_once(site, job_id)


def test_a_slurmctld_that_restarts_while_a_job_runs_loses_nothing(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["3"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("restart", "slurmctld")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1
