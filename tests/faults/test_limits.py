"""Slurm's limits on what may be in its queue: more than that waits in the gateway, and flows on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster


@pytest.fixture
def two_at_once(site: DevCluster) -> Iterator[DevCluster]:
    """A site whose Slurm takes two tasks of the account `lab`, which the daemon reads as it starts."""
    _limit(site, "2")
    yield site
    _limit(site, "-1")


def _limit(site: DevCluster, most: str) -> None:
    site.run("sacctmgr", "-i", "modify", "user", "where", "user=ctsjob", "account=lab", "set", f"MaxSubmitJobs={most}", user="root")  # fmt: skip
    site.tool("restart", "gateway")


def test_what_slurm_has_no_room_for_waits_in_the_gateway_and_flows_on(
    two_at_once: DevCluster,
) -> None:
    site = two_at_once
    image = site.image("sleep")
    full = [
        site.submit(image=image, account="lab", params={"args": ["600"]}, runtime=900)
        for _ in range(2)
    ]
    jobs = [site.submit(image=image, account="lab", runtime=60) for _ in range(2)]
    wide = site.submit(
        image=image,
        account="lab",
        input_files=[f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 4)],
        num_containers=3,
        runtime=60,
    )
    other = site.submit(image=image, runtime=60)  # of another account, which has no limit
    site.until(
        lambda: (
            "waits in the gateway: Slurm takes at most 2 tasks of the account lab"
            in (site.job(jobs[1])["reason"] or "")
        )
    )
    assert site.finish(other)["state"] == "complete"
    site.run("cts", "cancel", *full)
    for job_id in (*jobs, wide):
        job = site.finish(job_id)
        assert job["state"] == "complete", job["error"]
    assert len(site.job(wide)["slurm_jobs"]) == 2  # cut to what the limit lets be
