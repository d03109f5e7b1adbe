"""What a job asks of Slurm, Slurm gives: GPUs, nodes, features, licences, a reservation; and what it does not, is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 5)]
ASKED: dict[str, Any] = {
    "gpus": 2,
    "account": "lab",
    "qos": "debug",
    "partition": "regular",
    "constraint": "highmem&cpu",
    "reservation": "training",
    "licenses": "matlab:2",
}


def _sacct(site: DevCluster, slurm: str, fields: str) -> list[list[str]]:
    text = site.run("sacct", "-n", "-P", "-j", slurm, "-o", fields, user="root").stdout
    return [line.split("|") for line in text.splitlines()]


def test_slurm_gives_a_container_its_gpus_and_all_else_that_its_job_asked_for(
    site: DevCluster,
) -> None:
    job = site.finish(site.submit(image=site.image("argv"), **ASKED))
    assert job["state"] == "complete", job["error"]
    slurm = job["slurm_jobs"][0]
    seen = json.loads(site.run("cts", "logs", job["id"]).stdout)
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1"

    def steps() -> dict[str, dict[str, str]]:
        return {
            name: dict(each.split("=") for each in tres.split(",") if each)
            for name, tres in _sacct(site, slurm, "JobName,AllocTRES")
        }

    site.until(lambda: "stage-out" in steps() and "gres/gpu" in steps()["run"])
    found = steps()
    # The step that runs the container alone holds GPUs.
    assert found["run"]["gres/gpu"] == "2"
    assert "gres/gpu" not in found["stage-in"]
    assert "gres/gpu" not in found["stage-out"]
    task = _sacct(site, slurm, "JobID,Account,QOS,Partition,Reservation,Constraints,ReqTRES")[0]
    assert task[1:6] == ["lab", "debug", "regular", "training", "highmem&cpu"]
    assert "gres/gpu=2" in task[6]
    assert "license/matlab=2" in task[6]
    assert site.containers(job["id"])[0]["node"] == "n4"
    row = site.run(
        *("ctsacct", "-X", "-n", "-P", "-j", job["id"], "-o", "Account,Partition,QOS,NGPUS")
    )
    assert row.stdout == "lab|regular|debug|2\n"


def test_a_container_without_gpus_sees_none_on_a_node_that_has_some(site: DevCluster) -> None:
    done = site.run(
        *("ctsbatch", "-M", "dev", "--image", site.image("argv"), "--input", READS[1], "--mem", "50M"),
        *("--output", "results/no-gpus", "-t", "2", "-C", "highmem", "--parsable", "--wait"),
    )  # fmt: skip
    job_id = done.stdout.strip()
    assert site.containers(job_id)[0]["node"] in ("n3", "n4")
    seen = json.loads(site.run("cts", "logs", job_id).stdout)
    assert not [name for name in seen["environment"] if "VISIBLE" in name or "SLURM" in name]


def test_a_program_runs_once_on_each_node_of_its_container(site: DevCluster) -> None:
    failing = site.submit(image=site.image("fail"), nodes=2, params={"args": ["7"]})
    job_id = site.submit(image=site.image("argv"), nodes=2, cpus=2)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    site.until(lambda: site.job(job_id)["logpath"] is not None)
    folder = f"s3://{site.job(job_id)['logpath']}/0"
    for rank, name in enumerate(("stdout", "stdout.1")):
        text = site.run("aws", "s3", "cp", f"{folder}/{name}", "-").stdout
        seen = json.loads(text)
        wanted = {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_NNODES": "2"}
        assert {key: seen["environment"].get(key) for key in wanted} == wanted
        assert seen["environment"]["SLURM_NODELIST"] == site.containers(job_id)[0]["node"]
        assert seen["files"] == ["/input_files/sample-2.txt"]
    assert "CUDA_VISIBLE_DEVICES" not in seen["environment"]
    site.until(lambda: site.job(job_id)["cpu_hours"] is not None)
    row = site.run("ctsacct", "-X", "-n", "-P", "-j", job_id, "-o", "NCPUS,NNodes").stdout
    assert row == "4|2\n"
    failed = site.finish(failing)
    assert failed["state"] == "error"
    assert f"container {failing}_0 exited with code 7" in failed["error"]


def test_canceling_ends_the_program_on_every_node(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), nodes=2, params={"args": ["3971"]}, runtime=600)

    def programs() -> int:
        found = site.run("pgrep", "-c", "-f", "sleep 3971$", user="root", check=False)
        return int(found.stdout)

    folder = f"/scratch/cts/jobs/{job_id}/0"
    begun = [f"{folder}/.begun-run", f"{folder}/.begun-run-1"]
    site.until(lambda: site.run("ls", *begun, user="root", check=False).returncode == 0)
    site.until(lambda: programs() >= 2)
    site.run("cts", "cancel", job_id)
    assert site.finish(job_id)["state"] == "canceled"
    site.until(lambda: programs() == 0)


def test_the_containers_of_one_job_run_on_several_nodes_at_once(site: DevCluster) -> None:
    job_id = site.submit(
        image=site.image("sleep"),
        input_files=READS,
        num_containers=4,
        cpus=9,  # of the 16 of a node: no two fit
        params={"args": ["4"]},
    )
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    nodes = {container["node"] for container in site.containers(job_id)}
    assert len(nodes) > 1
    assert nodes <= {"n1", "n2", "n3", "n4"}


def test_what_the_site_does_not_offer_is_refused_with_what_it_offers(site: DevCluster) -> None:
    wrong = {
        "partition": ("x", "dev does not offer 'x'; it offers regular, debug"),
        "qos": ("x", "dev does not offer 'x'; it offers regular, debug"),
        "account": ("lab", "dev does not offer 'lab' to bob; it offers dev"),
        "reservation": ("training", "dev does not offer 'training' to bob; it offers none"),
        "constraint": ("highmem|gpu", "dev does not offer 'gpu'; it offers cpu, highmem"),
        "licenses": ("matlab:3", "must be at most 2 of matlab at dev: 3"),
        "gpus": (3, "must be at most 2 at dev, the GPUs of one node: 3"),
        "nodes": (5, "must be at most 4 for a container at dev: 5"),
    }
    said = _refused(site, **{field: value for field, (value, _) in wrong.items()})
    for field, (_, why) in wrong.items():
        assert f"{field}: {why}" in said
    said = _refused(site, partition="debug", runtime="PT21M")
    assert "must be at most PT20M (20 minutes) with the partition debug of dev" in said
    said = _refused(site, nodes=4, cpus=16, runtime="PT2H")
    assert "cpus x nodes x num_containers x runtime is 128 CPU-hours" in said


def _refused(site: DevCluster, **fields: Any) -> str:
    job = {"cluster": "dev", "image": "argv", "input_files": READS[:1], "output_dir": "results/x"}
    done = site.run("cts", "submit", "-", user="bob", text=json.dumps(job | fields), check=False)
    assert done.returncode == 2
    assert "(appcode 30001)" in done.stderr
    return done.stderr
