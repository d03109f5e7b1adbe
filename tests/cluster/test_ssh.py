"""A site that is reached by SSH: whole jobs, its logins, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def remote(site: DevCluster) -> Iterator[DevCluster]:
    """The site `remote`, on for the time of a test."""
    site.run("cts", "admin", "site", "on", "remote", user="ada")
    yield site
    site.run(
        "cts", "admin", "site", "off", "remote", "--reason", "it is for tests alone", user="ada"
    )


def test_a_job_runs_from_s3_to_s3_at_a_site_that_is_reached_by_ssh(remote: DevCluster) -> None:
    names = [f"sample-data/reads/sample-{n}.txt" for n in (2, 3, 6)]
    job_id = remote.submit(
        cluster="remote", image=remote.image("checksum"), input_files=names, num_containers=3
    )
    job = remote.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
    written = remote.objects(job["job_input"]["output_dir"])
    assert {
        "sample-2.txt": 12,
        "sample-3.txt": 1000,
        "sample-6.txt": 1000000,
    }.items() <= written.items()
    shown = json.loads(remote.run("cts", "sites", "remote", "--json").stdout)[0]
    assert (shown["active"], shown["available"]) == (True, True)
    assert remote.run("cts", "logs", f"{job_id}_0").stdout == "checksum: 1 files\n"
