"""A site in a federation of Slurm: its job ids are as large as 32 bits let them be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster

_FEDERATED = 1 << 26  # above it an id has the cluster's number in the federation


@pytest.fixture
def federated(site: DevCluster) -> Iterator[DevCluster]:
    """The site as the one cluster of a federation."""
    [name] = site.run(
        "sacctmgr", "-nP", "show", "cluster", "format=Cluster", user="root"
    ).stdout.split()

    def joined() -> bool:
        return name in site.run("scontrol", "show", "federation", user="root").stdout

    site.run("sacctmgr", "-i", "add", "federation", "tests", f"clusters={name}", user="root")
    site.until(joined)
    yield site
    site.run("sacctmgr", "-i", "delete", "federation", "tests", user="root")
    site.until(lambda: not joined())


def test_jobs_of_a_federated_cluster_end_are_canceled_and_run_again_as_others_do(
    federated: DevCluster,
) -> None:
    site = federated
    reads = [f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 4)]
    image = site.image("sleep")
    wide = site.submit(image=image, input_files=reads, num_containers=3, params={"args": ["6"]})
    bad = site.submit(image=site.image("fail"), params={"args": ["7"]})
    long = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    site.until(lambda: site.job(wide)["phase"] == "run")
    [slurm] = site.job(wide)["slurm_jobs"]
    assert int(slurm) > _FEDERATED
    site.run("scontrol", "requeue", f"{slurm}_1", user="root")
    site.until(lambda: "_1 was requeued by Slurm" in (site.job(wide)["reason"] or ""))
    site.release(wide)
    site.until(lambda: site.job(long)["phase"] == "run")
    site.run("cts", "cancel", long)
    assert site.finish(wide)["state"] == "complete"
    assert len(site.objects(site.job(wide)["job_input"]["output_dir"])) == 3
    assert f"container {bad}_0 exited with code 7" in site.finish(bad)["error"]
    assert site.finish(long)["state"] == "canceled"
    assert all(int(each) > _FEDERATED for n in (bad, long) for each in site.job(n)["slurm_jobs"])
    site.until(lambda: site.job(wide)["cpu_hours"] is not None)  # sacct has found it
