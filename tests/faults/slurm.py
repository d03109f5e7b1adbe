"""What Slurm itself has of a gateway job, and states that are held still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import DevCluster

_FAILS = "sleep 2; exit 7"


def slurm_jobs_of(site: DevCluster, job_id: str) -> set[str]:
    """Ids of all Slurm jobs that were ever submitted for a job, from squeue and sacct."""
    queued = site.run("squeue", "-h", "-t", "all", "-o", "%F %j", user="root").stdout
    accounted = site.run("sacct", "-n", "-P", "-X", "-a", "-o", "JobID,JobName", user="root").stdout
    lines = [line.split() for line in queued.splitlines()]
    lines += [
        [line.split("|")[0].split("_")[0], line.split("|")[1]] for line in accounted.splitlines()
    ]
    return {number for number, name in lines if name.startswith(f"cts-{job_id}-")}


def left_in_slurm(site: DevCluster, job_id: str) -> list[str]:
    """What squeue still has of a job that waits, runs or is about to end."""
    text = site.run("squeue", "-h", "-t", "PD,R,CG,S,CF", "-o", "%j", user="root").stdout
    return [name for name in text.split() if name.startswith(f"cts-{job_id}-")]


@contextmanager
def asleep(site: DevCluster, program: str, since: str = "/") -> Iterator[None]:
    """A part that has stopped and answers nobody, for the time of a block, which begins once there is a file `since`."""
    site.run("curl", "-sf", "--unix-socket", "/run/cts/cts.sock", "http://cts/ready")
    wait = 'until [ -e "$1" ]; do sleep 0.02; done; pkill -STOP -x "$0"'
    site.run("timeout", "120", "sh", "-c", wait, program, since, user="root")
    try:
        yield
    finally:
        site.run("pkill", "-CONT", "-x", program, user="root")


def sbatch_runs(site: DevCluster) -> None:
    """Wait until the gateway has called sbatch, which then waits for a slurmctld that is asleep."""
    site.until(lambda: site.run("pgrep", "-x", "sbatch", user="root", check=False).returncode == 0)


@contextmanager
def retry_waits(site: DevCluster) -> Iterator[str]:
    """A job whose container has failed and is to run again, while its site takes no jobs; then it takes them again."""
    job_id = site.submit(image=site.image("sleep"), script=_FAILS, retries=1)
    site.until(lambda: site.job(job_id)["phase"] == "run")
    site.run("cts", "admin", "site", "off", "dev", "--reason", "a test of retries", user="ada")
    try:
        site.until(lambda: "takes no jobs now" in (site.job(job_id)["reason"] or ""))
        assert site.containers(job_id)[0]["earlier"][0]["exit_code"] == 7
        yield job_id
    finally:
        site.run("cts", "admin", "site", "on", "dev", user="ada")
