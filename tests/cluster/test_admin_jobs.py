"""What admins do with a job, on the real site: details, what Slurm says, notes, cleaning, sending events again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


def _curl(site: DevCluster, method: str, path: str, body: object = None, user: str = "ada") -> Any:
    """Status, and the body where there is one, of a call over the socket."""
    data = () if body is None else ("-H", "Content-Type: application/json", "-d", json.dumps(body))
    text = site.run(
        *("curl", "-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket", "/run/cts/cts.sock"),
        *data,
        f"http://cts{path}",
        user=user,
    ).stdout
    answer, _, status = text.rpartition("\n")
    return int(status), json.loads(answer) if answer else None


def _there(site: DevCluster, job_id: str) -> bool:
    return site.run("test", "-e", f"/scratch/cts/jobs/{job_id}", user="root", check=False).returncode == 0  # fmt: skip


def test_an_admin_sees_all_of_a_running_job_notes_things_and_cleans_it_by_force(
    site: DevCluster,
) -> None:
    image = site.image("sleep")
    job_id = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    site.until(lambda: site.job(job_id)["phase"] == "run")
    status, whole = _curl(site, "GET", f"/admin/jobs/{job_id}")
    assert status == 200
    (submission,) = whole["submissions"]
    assert (submission["containers"], submission["state"]) == ([0], "submitted")
    assert [submission["slurm_job_id"]] == whole["slurm_jobs"]
    token = site.run("cat", f"/scratch/cts/jobs/{job_id}/job.json", user="root").stdout
    assert json.loads(token)["token"] not in json.dumps(whole)
    assert _curl(site, "GET", f"/admin/jobs/{job_id}", user="alice")[1]["error"]["appcode"] == 20000

    slurm = json.loads(site.run("cts", "admin", "job", "runner-status", job_id, "--json", user="ada").stdout)  # fmt: skip
    (task,) = slurm["controller"]["jobs"]
    assert task["job_state"] == ["RUNNING"]
    assert slurm["controller_error"] is None
    assert slurm["accounting"]["jobs"][0]["user"] == "ctsjob"
    one = _curl(site, "GET", f"/admin/jobs/{job_id}/runner_status?container=0")[1]
    assert one["slurm_jobs"] == [f"{whole['slurm_jobs'][0]}_0"]
    assert len(one["controller"]["jobs"]) == 1
    assert _curl(site, "GET", f"/admin/jobs/{job_id}/container/0")[1]["state"] == "job_submitted"
    assert _curl(site, "GET", f"/admin/jobs/{job_id}/container/1")[1]["error"]["appcode"] == 40050

    site.run("cts", "admin", "job", "meta", job_id, "ticket=HPC-77", "n=1", user="ada")
    status, _ = _curl(site, "PUT", f"/admin/jobs/{job_id}/meta", {"set_fields": {"n": 2}, "unset_keys": ["ticket"]})  # fmt: skip
    assert status == 204
    assert site.job(job_id)["admin_meta"] == {"n": 2}
    bad = _curl(site, "PUT", f"/admin/jobs/{job_id}/meta", {"set_fields": {"n": [1]}})
    assert bad[1]["error"]["appcode"] == 30010

    status, refused = _curl(site, "DELETE", f"/admin/jobs/{job_id}/clean")
    assert (status, refused["error"]["appcode"]) == (400, 30300)
    assert _there(site, job_id)
    site.run("cts", "admin", "job", "clean", job_id, "--force", user="ada")
    job = site.finish(job_id)
    assert job["state"] == "canceled"
    site.until(lambda: not _there(site, job_id))
    left = site.run("squeue", "-h", "-j", whole["slurm_jobs"][0], "-t", "PD,R,CG", user="root", check=False)  # fmt: skip
    assert left.stdout == ""
    shown = site.run("cts", "admin", "job", "show", job_id, user="ada").stdout
    assert "Removed   logs and all" in shown
    assert "Canceled  by ada" in shown


def test_a_failed_jobs_directory_stays_until_an_admin_has_it_cleaned(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("fail"), params={"args": ["7", "sample-2.txt"]})
    assert site.finish(job_id)["state"] == "error"
    assert _there(site, job_id)
    assert _curl(site, "DELETE", f"/admin/jobs/{job_id}/clean") == (204, None)
    site.until(lambda: not _there(site, job_id))
    # Its logs went into S3 before.
    assert "exiting with 7" in site.run("cts", "logs", "--stderr", job_id).stdout
    gone = _curl(site, "GET", f"/admin/jobs/{job_id}/runner_status")[1]
    assert gone["accounting"]["jobs"][0]["state"]["current"] == ["FAILED"]
    assert _curl(site, "DELETE", f"/admin/jobs/{job_id}/clean") == (204, None)
    never = _curl(site, "PUT", f"/admin/jobs/{job_id}/notify?state=complete")
    assert never[1]["error"]["appcode"] == 30300
    assert _curl(site, "DELETE", "/admin/jobs/999999999/clean")[1]["error"]["appcode"] == 40040
