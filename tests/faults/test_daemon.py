"""The daemon and its helper are killed again and again, its disk fills: no job is lost, none is submitted twice."""

from __future__ import annotations

import json
import random

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of

READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 7)]


def test_a_daemon_killed_again_and_again_under_a_stream_of_jobs_loses_and_doubles_none(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    chance = random.Random(20261124)
    jobs = []
    for _ in range(6):
        jobs.append(site.submit(image=image, input_files=READS, num_containers=2))
        site.run("sleep", f"{chance.uniform(0, 0.8):.2f}", user="root")
        site.tool("kill", "gateway")
        site.tool("start", "gateway")
    for job_id in jobs:
        job = site.finish(job_id)
        assert job["state"] == "complete", job["error"]
        assert job["output_file_count"] == len(READS) + 2
        assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
        assert len(job["slurm_jobs"]) == 1
        times = [row["time"] for row in job["transition_times"]]
        assert times == sorted(times)


def test_a_daemon_killed_while_a_job_runs_finds_it_again(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["4"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.tool("kill", "gateway")
    site.tool("start", "gateway")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1


def test_a_helper_that_is_killed_is_started_again(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["2"]})
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.run("pkill", "-KILL", "-u", "ctsjob", "-f", "cts-helper", user="root")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(slurm_jobs_of(site, job_id)) == 1


def test_a_full_disk_under_the_database_refuses_new_jobs_and_keeps_the_old_ones(
    site: DevCluster,
) -> None:
    image = site.image("sleep")
    running = site.submit(image=image, params={"args": ["6"]})
    site.until(lambda: site.job(running)["phase"] == "run")
    # The database moves to a file system of its own, which then fills up.
    site.tool("stop", "gateway")
    site.run(
        "sh",
        "-ec",
        "rm -rf /run/kept; cp -a /var/lib/cts /run/kept; "
        "mount -t tmpfs -o size=40M,mode=700,uid=ctsd,gid=ctsd tmpfs /var/lib/cts; "
        "cp -a /run/kept/. /var/lib/cts/; df /var/lib/cts",
        user="root",
    )
    try:
        site.tool("start", "gateway")
        site.run("sh", "-c", "cat /dev/zero > /var/lib/cts/filler || true", user="root")
        job = {
            "cluster": "dev",
            "image": image,
            "input_files": READS[:1],
            "output_dir": "results/full",
        }
        done = site.run("cts", "submit", "-", text=json.dumps(job), check=False)
        assert done.returncode == 5
        assert "database" in done.stderr
        assert "Traceback" not in done.stderr
        site.run("rm", "/var/lib/cts/filler", user="root")
        ended = site.finish(running)
        assert ended["state"] == "complete", ended["error"]
        assert site.finish(site.submit(image=image, params={"args": ["0"]}))["state"] == "complete"
    finally:
        site.tool("stop", "gateway")
        site.run(
            "sh",
            "-ec",
            "rm -rf /run/kept; cp -a /var/lib/cts /run/kept; umount /var/lib/cts; "
            "rm -f /var/lib/cts/cts.db*; cp -a /run/kept/cts.db* /var/lib/cts/; rm -r /run/kept",
            user="root",
        )
        site.tool("start", "gateway")
    assert site.job(running)["state"] == "complete"


def test_a_site_that_was_switched_off_stays_off_over_a_restart_of_the_daemon(
    site: DevCluster,
) -> None:
    reason = "it is for tests alone, and is off"
    site.run("cts", "admin", "site", "on", "spare", user="ada")
    site.run("cts", "admin", "site", "off", "spare", "--reason", reason, user="ada")
    site.tool("restart", "gateway")
    shown = json.loads(site.run("cts", "sites", "spare", "--json").stdout)[0]
    assert (shown["active"], shown["inactive_reason"]) == (False, reason)
