"""Slurm's limits on what may be in its queue: more than that waits in the gateway, and flows on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.client import CtsError
from tests.conftest import DevCluster
from tests.sites import edited


@contextmanager
def _limited(site: DevCluster, *whose: str, limit: str, most: str) -> Iterator[DevCluster]:
    """A site whose Slurm has a limit for the time of a block, which the daemon reads as it starts."""

    def change(value: str) -> None:
        site.run("sacctmgr", "-i", "modify", *whose, "set", f"{limit}={value}", user="root")
        site.tool("restart", "gateway")

    change(most)
    yield site
    change("-1")


@pytest.fixture
def two_at_once(site: DevCluster) -> Iterator[DevCluster]:
    """A site whose Slurm takes two tasks of the account `lab`."""
    whose = ("user", "where", "user=ctsjob", "account=lab")
    with _limited(site, *whose, limit="MaxSubmitJobs", most="2"):
        yield site


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


@pytest.fixture
def half_an_hour(site: DevCluster) -> Iterator[DevCluster]:
    """A site whose Slurm gives a job of the QOS `regular` half an hour."""
    with _limited(site, "qos", "regular", limit="MaxWall", most="30"):
        yield site


def test_a_job_that_is_longer_than_its_qos_lets_it_be_is_refused_at_once(
    half_an_hour: DevCluster,
) -> None:
    site = half_an_hour
    image = site.image("sleep")

    def refused(minutes: int) -> str:
        try:
            job_id = site.submit(image=image, qos="regular", runtime=60 * minutes)
        except CtsError as exc:
            return str(exc)
        site.run("cts", "cancel", job_id)
        return ""

    site.until(lambda: bool(refused(21)))  # the daemon looks soon after its start
    said = refused(21)
    assert "runtime: must be at most PT20M (20 minutes) with Slurm's QOS regular at dev" in said
    assert "which gives a job 30 minutes, 10 of them for staging: PT21M" in said
    taken = site.submit(image=image, qos="regular", runtime=60 * 20)
    assert site.finish(taken)["state"] == "complete"


@pytest.mark.long
def test_a_slurm_that_is_full_takes_the_rest_of_an_array_later(site: DevCluster) -> None:
    few = "s|^MaxJobCount=.*|MaxJobCount=5|; s|^MinJobAge=.*|MinJobAge=2|"
    with edited(site, "/etc/slurm/slurm.conf", few, "slurmctld"):
        site.tool("restart", "gateway")
        wide = site.submit(
            image=site.image("sleep"),
            input_files=[f"sample-data/reads/sample-{n}.txt" for n in range(2, 9)],
            num_containers=7,
            params={"args": ["1"]},
            runtime=60,
        )
        said = "Slurm takes at most 5 tasks of all users together (MaxJobCount)"
        site.until(lambda: said in (site.job(wide)["reason"] or ""))
        assert len(site.job(wide)["slurm_jobs"]) == 1
        # Slurm counts what has ended until it forgets it, which it looks for every minute.
        site.until(lambda: site.job(wide)["state"] == "complete", 400)
        assert len(site.job(wide)["slurm_jobs"]) == 2
    site.tool("restart", "gateway")
