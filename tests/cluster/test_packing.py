"""A site that packs: several containers of a job side by side in each array task, and arrays of a few tasks only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.sites import switched

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 9)]
PER_TASK, PER_ARRAY = 3, 3  # as deploy/devclusterlib has them


def _inputs(site: DevCluster, count: int) -> list[str]:
    """Small objects, n.txt with n in it."""
    folder = f"results/packing-{uuid.uuid4().hex[:8]}"
    script = (
        'set -e; d=$(mktemp -d); for n in $(seq -w 1 "$1"); do echo "$n" > "$d/$n.txt"; done; '
        'aws s3 cp --only-show-errors --recursive "$d" "s3://$2/"; rm -r "$d"'
    )
    site.run("sh", "-c", script, "sh", str(count), folder)
    return [f"{folder}/{n:02}.txt" for n in range(1, count + 1)]


@pytest.fixture(autouse=True, scope="module")
def _on(site: DevCluster) -> Iterator[None]:
    """The site `packed`, on for the time of these tests."""
    with switched(site, "packed"):
        yield


def _submit(site: DevCluster, image: str, **fields: Any) -> str:
    return site.submit(cluster="packed", image=site.image(image), **fields)


def _left(site: DevCluster, job: dict[str, Any]) -> str:
    """What squeue still has of a job."""
    return site.run(
        *("squeue", "-h", "-t", "PD,R,CG,S", "-j", ",".join(job["slurm_jobs"])),
        user="root",
        check=False,
    ).stdout


def test_24_containers_over_three_arrays_of_packed_tasks_all_complete_and_are_told_apart(
    site: DevCluster,
) -> None:
    inputs = _inputs(site, 24)
    job = site.finish(_submit(site, "checksum", input_files=inputs, num_containers=24))
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 3  # arrays of 3, 3 and 2 tasks, each with 3 containers
    assert {f"{n:02}.txt" for n in range(1, 25)} <= set(
        site.objects(job["job_input"]["output_dir"])
    )
    containers = site.containers(job["id"])
    first, second, third = job["slurm_jobs"]
    tasks = [f"{slurm}_{task}" for slurm in (first, second) for task in range(3)]
    tasks += [f"{third}_0", f"{third}_1"]
    assert [c["slurm_job_id"] for c in containers] == [task for task in tasks for _ in range(3)]
    wanted = {
        (f"{task}", f"{phase}-{3 * number + n}")
        for number, task in enumerate(tasks)
        for phase in ("stage-in", "run", "stage-out")
        for n in range(3)
    }

    def steps() -> set[tuple[str, str]]:
        text = site.run(
            *("sacct", "-n", "-P", "-j", ",".join(job["slurm_jobs"]), "-o", "JobID,JobName,State"),
            user="root",
        ).stdout
        rows = [line.split("|") for line in text.splitlines()]
        return {(row[0].partition(".")[0], row[1]) for row in rows if row[2] == "COMPLETED"}

    site.until(lambda: wanted <= steps())
    text = site.run("ctsacct", "-n", "-P", "-o", "JobID,SlurmID,NCPUS", "-j", job["id"]).stdout
    rows = {line.split("|")[0]: line.split("|")[1:] for line in text.splitlines()}
    assert rows[f"{job['id']}_4"] == [f"{first}_1", "1"]
    script = site.run("cts", "script", job["id"]).stdout
    assert script.count("#SBATCH --array=0-2\n") == 2
    assert script.count("#SBATCH --array=0-1\n") == 1
    assert script.count("#SBATCH --ntasks=3\n") == 3


def test_a_container_that_fails_and_one_that_slurm_requeued_leave_their_neighbours_alone(
    site: DevCluster,
) -> None:
    failing = _submit(
        site,
        "fail",
        input_files=READS[1:4],
        num_containers=3,
        params={"args": ["7", "sample-3.txt"]},
    )
    canceled = _submit(
        site,
        "sleep",
        input_files=READS[:3],
        num_containers=3,
        params={"args": ["300"]},
        runtime=600,
    )
    slow = _submit(
        site,
        "sleep",
        input_files=READS[:2],
        num_containers=2,
        params={"args": ["100"]},
        runtime=3,
    )
    requeued = _submit(
        site, "sleep", input_files=READS[:2], num_containers=2, params={"args": ["9"]}
    )
    site.until(lambda: site.job(requeued)["containers"].get("run", 0) >= 1)
    site.run("scontrol", "requeue", f"{site.job(requeued)['slurm_jobs'][0]}_0", user="root")
    site.until(lambda: site.job(canceled)["phase"] == "run")
    site.run("ctscancel", canceled)
    site.until(lambda: "requeued" in (site.job(requeued)["reason"] or ""))
    site.release(requeued)

    job = site.finish(failing)
    assert job["state"] == "error"
    assert f"container {failing}_1 exited with code 7" in job["error"]
    assert set(site.objects(job["job_input"]["output_dir"])) == {"sample-2.txt", "sample-4.txt"}
    assert [c["exit_code"] for c in site.containers(failing)] == [0, 7, 0]

    job = site.finish(canceled)
    assert job["state"] == "canceled"
    assert {c["state"] for c in site.containers(canceled)} == {"canceled"}
    assert _left(site, job) == ""

    job = site.finish(slow)
    assert job["state"] == "error"
    assert all("3 s" in c["error"] for c in site.containers(slow))

    job = site.finish(requeued)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
