"""Exactly one Slurm job for a gateway job, by a slurmrestd that dies, and one that goes on when the daemon has died."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of
from tests.sites import switched


@pytest.fixture(autouse=True)
def _on(site: DevCluster, all_back: None) -> Iterator[None]:
    """The site `rest`, on for the time of a test."""
    with switched(site, "rest"):
        # What was registered while it was off is staged now, and these tests look at what slurmrestd alone does for a job.
        site.until(lambda: _staged(site))
        yield
        site.tool("start", "gateway")


def _staged(site: DevCluster) -> bool:
    known = json.loads(site.run("cts", "refdata", "--json").stdout)
    states = {at["state"] for each in known for at in each["statuses"] if at["cluster"] == "rest"}
    return states <= {"complete", "error"}


def _submit_into_a_silent_slurm(site: DevCluster) -> str:
    """Have slurmrestd send a submission to a slurmctld that does not read it yet."""
    image = site.image("checksum")
    port = json.loads(site.run("cat", "/etc/devcluster.json", user="root").stdout)["base_port"]
    site.run("curl", "-sf", "--unix-socket", "/run/cts/cts.sock", "http://cts/ready")
    site.run("pkill", "-STOP", "-x", "slurmctld", user="root")
    job_id = site.submit(cluster="rest", image=image)
    waits = ("ss", "-Htn", "state", "established", f"( sport = :{port} )")

    def sent() -> bool:
        sizes = [int(line.split()[0]) for line in site.run(*waits).stdout.splitlines()]
        return site.job(job_id)["phase"] == "submitting" and max(sizes, default=0) > 1000

    site.until(sent)
    return job_id


def _ends_well_as_one_slurm_job(site: DevCluster, job_id: str) -> None:
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    assert len(job["slurm_jobs"]) == 1


def test_a_slurmrestd_killed_before_it_could_answer_a_submission_has_it_made_once(
    site: DevCluster,
) -> None:
    job_id = _submit_into_a_silent_slurm(site)
    site.tool("kill", "slurmrestd")
    site.until(lambda: "is not known: slurmrestd" in (site.job(job_id)["reason"] or ""))
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    site.tool("start", "slurmrestd")
    _ends_well_as_one_slurm_job(site, job_id)


def test_a_daemon_killed_while_slurmrestd_submits_for_it_adopts_the_job(site: DevCluster) -> None:
    job_id = _submit_into_a_silent_slurm(site)
    site.tool("kill", "gateway")
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    site.tool("start", "gateway")
    _ends_well_as_one_slurm_job(site, job_id)


def test_a_slurmrestd_that_is_away_while_a_job_runs_is_told_and_loses_nothing(
    site: DevCluster,
) -> None:
    job_id = site.submit(cluster="rest", image=site.image("sleep"), params={"args": ["20"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("kill", "slurmrestd")

    def told() -> bool:
        shown = json.loads(site.run("cts", "sites", "rest", "--json").stdout)[0]
        return "slurmrestd.sock cannot be reached" in (shown["unavailable_reason"] or "")

    site.until(told)
    site.tool("start", "slurmrestd")
    _ends_well_as_one_slurm_job(site, job_id)
