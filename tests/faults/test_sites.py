"""Sites that are down, each in its own way: their jobs are held with the reason, those of the others run on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import slurm_jobs_of
from tests.sites import switched, trouble

WORK = "/scratch/cts-packed"
AWAY = {
    "packed": "Permission denied",  # its work directory is gone
    "remote": "Unable to connect to port",  # nobody listens to SSH there
}


@pytest.fixture
def three(site: DevCluster) -> Iterator[DevCluster]:
    """The sites `dev`, `packed` and `remote`, on for the time of a test."""
    with ExitStack() as stack:
        for name in AWAY:
            stack.enter_context(switched(site, name))
        yield site
        site.run("sh", "-c", f"test -d {WORK} || mv {WORK}.away {WORK}", user="root")
        site.run("cts", "admin", "site", "on", "dev", user="ada")


def test_sites_that_are_down_hold_their_jobs_and_the_others_run_on(three: DevCluster) -> None:
    image = three.image("checksum")
    three.tool("stop", "sshd")
    three.run("pkill", "-KILL", "-f", "^sshd-session: ctsjob", user="root", check=False)
    three.run("mv", WORK, f"{WORK}.away", user="root")
    held = {name: three.submit(cluster=name, image=image) for name in AWAY}
    for name, why in AWAY.items():
        three.until(lambda name=name, why=why: why in trouble(three, name))  # type: ignore[misc]
        reason = three.job(held[name])["reason"]
        assert reason.startswith(f"the site {name} does not answer as it should: ")
        assert why in reason
    free = [three.submit(cluster=name, image=image) for name in ("dev", "any")]
    for job_id in free:
        job = three.finish(job_id)
        assert (job["state"], job["job_input"]["cluster"]) == ("complete", "dev"), job["error"]
    choice = job["transition_times"][0]["detail"]
    assert all(f"{name}: The site {name} does not answer as it should" in choice for name in AWAY)
    # With dev off, too, there is none for a job that leaves it open.
    three.run("cts", "admin", "site", "off", "dev", user="ada")
    job = {"cluster": "any", "image": image, "input_files": ["sample-data/reads/sample-2.txt"], "output_dir": "results/any"}  # fmt: skip
    done = three.run("cts", "submit", "-", text=json.dumps(job), check=False)
    three.run("cts", "admin", "site", "on", "dev", user="ada")
    assert "no site takes this job now; packed: The site packed does not answer" in done.stderr
    assert "A job that names it would wait for it. (and 4 more) (appcode 60020)" in done.stderr
    assert "dev: The site dev takes no jobs now: switched off" in done.stderr
    # Nobody who looks at the sites waits for those that are down, and Slurm's last word is shown with its age.
    shown = {
        each["cluster"]: each for each in json.loads(three.run("cts", "sites", "--json").stdout)
    }
    assert [shown[name]["available"] for name in ("dev", "packed", "remote")] == [
        True,
        False,
        False,
    ]
    assert "port" in shown["remote"]["slurm"]["error"]
    # The daemon starts without them, and they come back by themselves: one of them as a new, empty directory.
    three.tool("restart", "gateway")
    assert {three.job(job_id)["state"] for job_id in held.values()} <= {"created", "job_submitting"}
    three.run("install", "-d", "-o", "ctsjob", "-g", "ctsjob", "-m", "700", WORK, user="root")
    three.tool("start", "sshd")
    for name, job_id in held.items():
        job = three.finish(job_id)
        assert (job["state"], job["job_input"]["cluster"]) == ("complete", name), job["error"]
        assert slurm_jobs_of(three, job_id) == set(job["slurm_jobs"])
    three.run("rm", "-rf", f"{WORK}.away", user="root")
