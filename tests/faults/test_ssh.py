"""A site that is reached by SSH loses its connection: no job is lost, none is run twice, and it says why it waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of
from tests.sites import switched, trouble


@pytest.fixture(autouse=True)
def remote(site: DevCluster) -> Iterator[None]:
    """The site `remote`, on for the time of a test."""
    with switched(site, "remote"):
        yield


def _cut(site: DevCluster) -> None:
    """End the sessions of the jobs' user, without a word."""
    site.run("pkill", "-KILL", "-f", "^sshd-session: ctsjob", user="root")


def _completes_once(site: DevCluster, job_id: str) -> None:
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])


def _submit_into_a_silent_slurm(site: DevCluster) -> str:
    image = site.image("checksum")
    site.run("curl", "-sf", "--unix-socket", "/run/cts/cts.sock", "http://cts/ready")
    site.run("pkill", "-STOP", "-x", "slurmctld", user="root")
    job_id = site.submit(image=image, cluster="remote")
    site.until(lambda: site.run("pgrep", "-x", "sbatch", user="root", check=False).returncode == 0)
    assert site.job(job_id)["phase"] == "submitting"
    return job_id


def test_an_sshd_that_is_away_holds_new_jobs_and_those_that_run_end_well(site: DevCluster) -> None:
    image = site.image("sleep")
    running = site.submit(image=image, cluster="remote", params={"args": ["3"]})
    site.until(lambda: site.job(running)["phase"] == "run")
    site.tool("stop", "sshd")
    _cut(site)
    waiting = site.submit(image=image, cluster="remote", params={"args": ["0"]})
    site.until(lambda: "Unable to connect to port" in trouble(site, "remote"))
    assert "ssh: ctsjob@127.0.0.1:" in trouble(site, "remote")
    assert site.job(running)["phase"] == "run"
    assert site.job(waiting)["phase"] in ("created", "submitting")
    site.tool("start", "sshd")
    _completes_once(site, running)
    _completes_once(site, waiting)


def test_a_connection_that_is_cut_in_the_middle_of_a_submission_submits_nothing_twice(
    site: DevCluster,
) -> None:
    job_id = _submit_into_a_silent_slurm(site)
    _cut(site)
    site.until(lambda: "submission is not known: " in (site.job(job_id)["reason"] or ""))
    assert "the connection was lost" in site.job(job_id)["reason"]
    assert site.run("pgrep", "-x", "sbatch", user="root", check=False).returncode == 0
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    _completes_once(site, job_id)


def test_a_host_key_that_has_changed_is_told_by_the_check(site: DevCluster) -> None:
    known = "/etc/cts/ssh/known_hosts"
    other = "ssh-keygen -q -t ed25519 -N '' -f /tmp/other && cut -d ' ' -f 1,2 /tmp/other.pub"
    site.run("cp", "-p", known, f"{known}.before", user="root")
    try:
        name = site.run("cut", "-d", " ", "-f", "1", known, user="root").stdout.strip()
        key = site.run("sh", "-c", f"{other} && rm /tmp/other*", user="root").stdout
        site.run("sh", "-c", f"cat > {known}", user="root", text=f"{name} {key}")
        done = site.run("ctsd", "check", user="ctsd", check=False)
    finally:
        site.run("mv", f"{known}.before", known, user="root")
    assert done.returncode == 1
    for what in ("slurm", "work directory"):
        (line,) = [each for each in done.stdout.splitlines() if f"site remote: {what}" in each]
        assert line.startswith("FAIL"), line
        assert "127.0.0.1]:" in line
        assert "has changed: it shows ssh-ed25519 SHA256:" in line
