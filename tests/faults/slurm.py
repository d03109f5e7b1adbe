"""What Slurm itself has of a gateway job."""

from __future__ import annotations

from tests.conftest import DevCluster


def slurm_jobs_of(site: DevCluster, job_id: str) -> set[str]:
    """Ids of all Slurm jobs that were ever submitted for a job, from squeue and sacct."""
    queued = site.run("squeue", "-h", "-t", "all", "-o", "%F %j", user="root").stdout
    accounted = site.run("sacct", "-n", "-P", "-X", "-a", "-o", "JobID,JobName", user="root").stdout
    lines = [line.split() for line in queued.splitlines()]
    lines += [
        [line.split("|")[0].split("_")[0], line.split("|")[1]] for line in accounted.splitlines()
    ]
    return {number for number, name in lines if name.startswith(f"cts-{job_id}-")}
