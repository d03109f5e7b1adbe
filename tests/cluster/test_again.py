"""Containers that are run again, jobs that an admin restarts, uploads that are retried, and cancel in each state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import left_in_slurm

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 9)]


def test_a_container_that_fails_is_retried_alone_and_an_admin_restarts_what_is_missing(
    site: DevCluster,
) -> None:
    fields: dict[str, Any] = {
        "image": site.image("fail"),
        "input_files": READS[1:4],
        "num_containers": 3,
        "retries": 1,
        "params": {"args": ["7", "sample-3.txt"]},
    }
    job_id = site.submit(**fields)
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert len(job["slurm_jobs"]) == 2
    containers = site.containers(job_id)
    assert [c["attempt"] for c in containers] == [1, 2, 1]
    assert [e["exit_code"] for e in containers[1]["earlier"]] == [7]
    notes = [row["detail"] or "" for row in job["transition_times"]]
    assert any(f"container {job_id}_1 exited with code 7; retry 1 of 1" in note for note in notes)
    assert "exiting with 7" in site.run("cts", "logs", "-c", "1", "--stderr", job_id).stdout
    kept = site.run("ls", f"/scratch/cts/jobs/{job_id}/1", user="root").stdout
    assert "stderr.attempt-1" in kept

    refused = site.run("cts", "admin", "job", "restart", job_id, user="alice", check=False)
    assert refused.returncode != 0
    nothing = site.run("cts", "admin", "job", "upload", job_id, user="ada", check=False)
    assert "30300" in nothing.stderr
    site.run("cts", "admin", "job", "restart", job_id, user="ada")
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert "restarted by ada: 1 container" in [row["detail"] for row in job["transition_times"]]
    assert len(job["slurm_jobs"]) == 4  # the restart, and its retry
    ids = {c["slurm_job_id"] for c in site.containers(job_id)}
    assert ids == {
        f"{job['slurm_jobs'][0]}_0",
        f"{job['slurm_jobs'][0]}_2",
        f"{job['slurm_jobs'][3]}_0",
    }


def test_cancel_in_each_state_leaves_nothing_in_slurm_and_says_who_did_it(
    site: DevCluster,
) -> None:
    image = site.image("sleep")
    running = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    holder = site.submit(image=image, licenses="matlab:2", params={"args": ["300"]}, runtime=600)
    site.until(
        lambda: site.job(holder)["phase"] == "run"
    )  # it, and not the next one, has the licences
    pending = site.submit(image=image, licenses="matlab:2", params={"args": ["300"]}, runtime=600)
    by_admin = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    site.until(lambda: site.job(running)["phase"] == "run")
    site.until(lambda: site.job(pending)["phase"] == "pending" and site.job(pending)["reason"])
    created = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    for job_id in (created, running, pending, holder):
        site.run("cts", "cancel", job_id)
    site.run("cts", "cancel", by_admin, user="ada")
    for job_id, who in (
        (created, "alice"),
        (running, "alice"),
        (pending, "alice"),
        (by_admin, "admin ada"),
    ):
        job = site.finish(job_id)
        assert job["state"] == "canceled", job
        assert left_in_slurm(site, job_id) == []
        assert job["cancel_by"] == who.rpartition(" ")[2]
        assert f"canceled by {who}" in [row["detail"] for row in job["transition_times"]]
        assert site.run("cts", "cancel", job_id).returncode == 0
