"""Parts of Slurm that are away for a minute while hundreds of tasks are under way: none is lost, none is run twice, each is told.

What each trouble is told as is printed (`pytest -s`). These take minutes: `make faults` runs them, `make test` does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of
from tests.sites import switched, trouble

pytestmark = pytest.mark.long
TASKS, OUTAGE = 200, 60.0


@pytest.fixture
def load(site: DevCluster) -> Iterator[str]:
    """A job of many tasks, of which some run; when the test is over, each has run once and all is complete."""
    fields: dict[str, Any] = {
        "array": f"0-{TASKS - 1}",
        "params": {"args": ["1"], "declobber": True},
        "cpus": 4,
    }
    job_id = site.submit(image=site.image("sleep"), runtime=300, **fields)
    site.until(lambda: any(each["phase"] == "run" for each in site.containers(job_id)))
    yield job_id
    _all_ran_once(site, job_id)


def _all_ran_once(site: DevCluster, job_id: str) -> None:
    site.until(lambda: site.job(job_id)["state"] in ("complete", "error"), 500)
    job, containers = site.job(job_id), site.containers(job_id)
    assert job["state"] == "complete", job["error"]
    assert {each["attempt"] for each in containers} == {1}
    assert slurm_jobs_of(site, job_id) == set(job["slurm_jobs"])
    ran = site.run("sacct", "-n", "-P", "-X", "-D", "-a", "-o", "JobID", "-j", ",".join(job["slurm_jobs"]), user="root")  # fmt: skip
    tasks = ran.stdout.split()
    assert len(tasks) == len(set(tasks)) == len(containers)
    print(f"{len(containers)} tasks of job {job_id}: complete, each once in Slurm's accounting")


def _told(site: DevCluster, what: str, read: Callable[[], str], word: str) -> None:
    site.until(lambda: word in read())
    print(f"{what}: {read()}")


def test_a_slurmctld_that_is_away_for_a_minute(site: DevCluster, load: str) -> None:
    site.tool("stop", "slurmctld")
    begin = time.monotonic()
    more = site.submit(image=site.image("checksum"))
    word = "Unable to contact slurm controller"
    _told(site, "slurmctld stopped, a new job", lambda: site.job(more)["reason"] or "", word)
    _told(site, "slurmctld stopped, the site", lambda: trouble(site, "dev"), word)
    time.sleep(max(0.0, OUTAGE - (time.monotonic() - begin)))
    assert site.job(load)["error"] is None
    site.tool("start", "slurmctld")
    _all_ran_once(site, more)


def test_a_slurmdbd_that_is_away_for_a_minute(site: DevCluster, load: str) -> None:
    site.tool("stop", "slurmdbd")
    begin = time.monotonic()
    bad = site.submit(image=site.image("fail"), params={"args": ["7"]})
    _told(site, "slurmdbd stopped, a failed job", lambda: site.job(bad)["error"] or "", "exited with code 7")  # fmt: skip
    log = "/var/log/devcluster/gateway.log"
    said = ("sh", "-c", f"grep -a accounting.silent {log} | tail -n 1")
    _told(
        site, "slurmdbd stopped, the log", lambda: site.run(*said, user="root").stdout, "database"
    )
    time.sleep(max(0.0, OUTAGE - (time.monotonic() - begin)))
    site.tool("start", "slurmdbd")
    site.until(lambda: site.job(bad)["cpu_hours"] is not None)


def test_a_slurmd_that_is_killed_in_the_midst_and_munge_that_restarts(
    site: DevCluster, load: str
) -> None:
    busy = [each["node"] for each in site.containers(load) if each["phase"] == "run"]
    node = next(each for each in busy if each)
    site.tool("kill", f"slurmd-{node}")
    site.tool("restart", "munge")
    site.tool("start", f"slurmd-{node}")
    print(f"slurmd of {node} killed with tasks on it, munge restarted: {site.job(load)['reason']}")


def test_an_sshd_that_restarts_under_load(site: DevCluster) -> None:
    with switched(site, "remote"):
        fields: dict[str, Any] = {
            "array": f"0-{TASKS // 2 - 1}",
            "params": {"args": ["1"], "declobber": True},
        }
        job_id = site.submit(image=site.image("sleep"), cluster="remote", runtime=300, **fields)
        site.until(lambda: any(each["phase"] == "run" for each in site.containers(job_id)))
        site.tool("stop", "sshd")
        site.run("pkill", "-KILL", "-f", "^sshd-session: ctsjob", user="root")
        _told(site, "sshd stopped, the site", lambda: trouble(site, "remote"), "Unable to connect")
        site.tool("start", "sshd")
        _all_ran_once(site, job_id)
