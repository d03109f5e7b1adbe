"""The object store goes away: jobs wait for it, nothing is lost."""

from __future__ import annotations

import json

from tests.conftest import DevCluster
from tests.faults.slurm import left_in_slurm

READS = [f"sample-data/reads/sample-{n}.txt" for n in range(2, 8)]


def _copied(site: DevCluster, job: dict[str, object]) -> bool:
    """Whether the job's outputs in S3 are its inputs, byte for byte."""
    script = (
        'set -e; rm -rf got want; aws s3 cp --only-show-errors --recursive "s3://$1" got; '
        "aws s3 cp --only-show-errors --recursive s3://sample-data/reads want; "
        'cd got; for f in sample-*; do cmp "$f" "../want/$f"; done'
    )
    fields = job["job_input"]
    assert isinstance(fields, dict)
    return site.run("sh", "-c", script, "sh", fields["output_dir"], check=False).returncode == 0


def test_a_store_that_is_away_at_submission_is_told_in_one_line_and_nothing_is_stored(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    before = site.run("cts", "jobs", "--json").stdout
    site.tool("kill", "rgw")
    job = {"cluster": "dev", "image": image, "input_files": READS, "output_dir": "results/none"}
    done = site.run("cts", "submit", "-", text=json.dumps(job), check=False)
    assert done.returncode == 2
    assert "(appcode 60000)" in done.stderr
    assert "cannot be reached" in done.stderr
    assert site.run("cts", "jobs", "--json").stdout == before


def test_a_store_that_goes_while_a_container_runs_gets_the_outputs_when_it_is_back(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("sleep"), input_files=READS, params={"args": ["3"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("kill", "rgw")
    site.until(lambda: site.job(job_id)["phase"] == "stage-out")
    site.until(lambda: "again in" in _node_log(site, job_id))
    site.tool("start", "rgw")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert job["output_file_count"] == len(READS)
    assert _copied(site, job)


def test_a_store_that_is_away_while_a_node_stages_in_delays_the_job_and_no_more(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    site.run("pkill", "-STOP", "-x", "slurmctld", user="root")
    job_id = site.submit(image=image, input_files=READS)
    site.tool("kill", "rgw")
    site.run("pkill", "-CONT", "-x", "slurmctld", user="root")
    site.until(lambda: "again in" in _node_log(site, job_id))
    assert site.job(job_id)["state"] == "job_submitted"
    site.tool("start", "rgw")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _copied(site, job)


def test_outputs_that_cannot_be_verified_now_keep_the_job_waiting_with_the_reason_shown(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("sleep"), input_files=READS, params={"args": ["2"]})
    folder = f"/scratch/cts/jobs/{job_id}/0"
    # The daemon sleeps from the end of the upload on, until the store is away.
    site.run(
        "sh",
        "-c",
        f"while [ ! -e {folder}/.step-stage-out.json ]; do sleep 0.005; done; pkill -STOP -x -u ctsd ctsd",
        user="root",
    )
    site.tool("kill", "rgw")
    site.run("pkill", "-CONT", "-x", "-u", "ctsd", "ctsd", user="root")
    site.until(lambda: "verifying the outputs waits" in (site.job(job_id)["reason"] or ""))
    assert site.job(job_id)["state"] == "upload_submitted"
    site.tool("start", "rgw")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _copied(site, job)


def test_outputs_that_an_end_in_slurm_kept_back_are_uploaded_when_an_admin_says_so(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("sleep"), input_files=READS, params={"args": ["2"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("kill", "rgw")
    site.until(lambda: site.job(job_id)["phase"] == "stage-out")
    (slurm,) = site.job(job_id)["slurm_jobs"]
    site.run("scancel", slurm, user="root")
    site.until(lambda: left_in_slurm(site, job_id) == [])
    site.tool("start", "rgw")
    job = site.finish(job_id)
    assert job["state"] == "error"
    assert "by root" in job["error"]
    assert site.containers(job_id)[0]["exit_code"] == 0
    assert site.objects(job["job_input"]["output_dir"]) == {}
    site.run("cts", "admin", "job", "upload", job_id, user="ada")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert job["output_file_count"] == len(READS)
    assert _copied(site, job)
    notes = [row["detail"] for row in job["transition_times"]]
    assert "upload retried by ada: 1 container" in notes
    steps = site.run("sacct", "-n", "-P", "-j", job["slurm_jobs"][1], "-o", "JobName", user="root")
    assert "stage-out" in steps.stdout.split()
    assert "run" not in steps.stdout.split()


def _node_log(site: DevCluster, job_id: str) -> str:
    done = site.run("cat", f"/scratch/cts/jobs/{job_id}/slurm-0-0.log", user="root", check=False)
    return done.stdout
