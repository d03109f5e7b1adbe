"""The main job, end to end, on the real site."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 9)]


def test_eight_objects_over_three_containers_come_back_in_s3_unchanged(site: DevCluster) -> None:
    job = site.finish(
        site.submit(image=site.image("checksum"), input_files=READS, num_containers=3)
    )
    assert job["state"] == "complete", job["error"]
    names = {o["file"].rpartition("/")[2] for o in job["outputs"]}
    assert {f"sample-{n}.txt" for n in range(1, 9)} <= names
    assert job["output_file_count"] == 11
    assert len([name for name in names if name.startswith("checksums-")]) == 3
    phases = [t["phase"] for t in job["transition_times"]]
    assert phases[0] == "created"
    assert phases[-1] == "complete"
    original = site.run("aws", "s3", "cp", "s3://sample-data/reads/sample-8.txt", "-").stdout
    copied = site.run(
        "aws", "s3", "cp", f"s3://{job['job_input']['output_dir']}sample-8.txt", "-"
    ).stdout
    assert hashlib.md5(original.encode()).hexdigest() == hashlib.md5(copied.encode()).hexdigest()


def test_slurm_shows_the_three_steps_of_each_task_and_the_script_holds_no_user_text(
    site: DevCluster,
) -> None:
    job = site.finish(
        site.submit(image=site.image("checksum"), input_files=READS[:2], num_containers=2)
    )
    slurm = job["slurm_jobs"][0]

    def steps() -> list[str]:
        text = site.run(
            "sacct", "-n", "-P", "-j", slurm, "-o", "JobID,JobName,State", user="root"
        ).stdout
        return [line for line in text.splitlines() if line.endswith("COMPLETED")]

    wanted = [
        f"{slurm}_{n}.{k}|{name}|COMPLETED"
        for n in (0, 1)
        for k, name in enumerate(("stage-in", "run", "stage-out"))
    ]
    site.until(lambda: set(wanted) <= set(steps()))
    script = site.run("cts", "script", job["id"]).stdout
    lines = [line for line in script.splitlines() if not line.startswith("#SBATCH")]
    assert lines[0] == "#!/bin/sh"
    assert len(lines) == 2
    assert lines[1].startswith("exec /usr/bin/python3 -I /scratch/cts/agent/")


def test_one_container_of_three_that_exits_7_fails_the_job_and_the_others_outputs_are_there(
    site: DevCluster,
) -> None:
    inputs = READS[1:4]
    job = site.finish(
        site.submit(
            image=site.image("fail"),
            input_files=inputs,
            num_containers=3,
            params={"args": ["7", "sample-3.txt"]},
        )
    )
    assert job["state"] == "error"
    assert f"container {job['id']}_1 exited with code 7" in job["error"]
    assert "cts logs" in job["error"]
    codes = json.loads(
        site.run(
            "curl",
            "-s",
            "--unix-socket",
            "/run/cts/cts.sock",
            f"http://cts/jobs/{job['id']}/exit_codes",
        ).stdout
    )
    assert codes == {"exit_codes": [0, 7, 0]}
    assert set(site.objects(job["job_input"]["output_dir"])) == {"sample-2.txt", "sample-4.txt"}
    assert "exiting with 7" in site.run("cts", "logs", "-c", "1", "--stderr", job["id"]).stdout


def test_names_and_arguments_that_a_shell_would_act_on_reach_the_container_as_they_are(
    site: DevCluster,
) -> None:
    evil = "a b$(touch x);\"q\" '*'"
    key = 'odd/a b$(touch x)"q"*.txt'
    job = site.finish(
        site.submit(
            image=site.image("argv"),
            input_files=[f"sample-data/{key}"],
            params={
                "args": [
                    evil,
                    {"type": "input_files", "input_files_format": "space_separated_list"},
                ],
                "environment": {"EVIL": evil, "BACK": "a\\b,c $HOME `id`"},
            },
        )
    )
    assert job["state"] == "complete", job["error"]
    seen = json.loads(site.run("cts", "logs", job["id"]).stdout)
    path = "/input_files/" + key.partition("/")[2]
    assert seen["argv"] == [evil, path]
    assert seen["environment"]["EVIL"] == evil
    assert seen["environment"]["BACK"] == "a\\b,c $HOME `id`"
    assert seen["files"] == [path]
    assert site.run("find", "/scratch/cts/jobs", "-name", "x", user="root").stdout == ""


def test_a_container_sees_its_own_and_nothing_else(site: DevCluster) -> None:
    job = site.finish(site.submit(image=site.image("inspect")))
    assert job["state"] == "complete", job["error"]
    text = site.run(
        "aws", "s3", "cp", f"s3://{job['job_input']['output_dir']}inspect.txt", "-"
    ).stdout
    parts = dict(part.split("\n", 1) for part in text.split("== ")[1:])
    for word in ("SLURM", "SUDO", "AWS", "token", "cts.sock"):
        assert word not in parts["variables"], word
    for word in (
        "job.json",
        "grants",
        "mailbox",
        "container.json",
        "/etc/cts",
        "/home/alice",
        "/scratch",
    ):
        assert word not in parts["files"], word
    assert len(parts["processes"].strip().splitlines()) < 8
    assert "slurm" not in parts["processes"]
    mounts = {
        line.split()[1]: line.split()[3].split(",") for line in parts["mounts"].splitlines() if line
    }
    assert "ro" in mounts["/input_files"]
    assert "rw" in mounts["/output_files"]


def test_bob_cannot_see_cancel_or_read_the_logs_of_alices_job(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("checksum"))
    site.finish(job_id)
    for command in (("show",), ("cancel",), ("logs",), ("script",), ("wait",)):
        done = site.run("cts", *command, job_id, user="bob", check=False)
        assert done.returncode == 3, (command, done.stderr)
        assert "40040" in done.stderr
    listed = json.loads(site.run("cts", "jobs", "--json", user="bob").stdout)
    assert job_id not in [job["id"] for job in listed]
    assert site.run("ls", f"/scratch/cts/jobs/{job_id}", user="bob", check=False).returncode != 0
    assert site.run("cat", "/etc/cts/s3-credentials", user="ctsjob", check=False).returncode != 0
    assert site.run("cat", "/var/lib/cts/cts.db", user="ctsjob", check=False).returncode != 0


def test_a_job_that_needs_more_memory_than_it_asked_for_says_so(site: DevCluster) -> None:
    job = site.finish(site.submit(image=site.image("memory"), params={"args": ["2000"]}))
    assert job["state"] == "error"
    assert "OUT_OF_MEMORY" in job["error"]


def test_a_canceled_job_leaves_nothing_in_slurm(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["300"]}, runtime=600)
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.run("ctscancel", job_id)
    job = site.finish(job_id)
    assert job["state"] == "canceled"
    assert (
        site.run(
            "squeue", "-h", "-j", job["slurm_jobs"][0], "-t", "PD,R,CG", user="root", check=False
        ).stdout
        == ""
    )
    again = site.run("cts", "cancel", job_id)
    assert again.returncode == 0


def test_a_container_past_its_runtime_is_stopped_and_told(site: DevCluster) -> None:
    job = site.finish(site.submit(image=site.image("sleep"), params={"args": ["100"]}, runtime=3))
    assert job["state"] == "error"
    assert "3 s" in job["error"]
