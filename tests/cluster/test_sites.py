"""A site is switched on and off by an admin: what it then takes, what goes on, and what its Slurm refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
JOB = {"cluster": "spare", "input_files": ["sample-data/reads/sample-2.txt"], "output_dir": "results/spare"}  # fmt: skip


def _switch(site: DevCluster, *words: str, user: str = "ada") -> Any:
    return site.run("cts", "admin", "site", *words, user=user, check=False)


@pytest.fixture
def spare(site: DevCluster) -> Iterator[DevCluster]:
    """The site `spare`, on for the time of a test."""
    done = _switch(site, "on", "spare")
    assert done.stdout == "spare takes jobs\n", done.stderr
    yield site
    _switch(site, "off", "spare", "--reason", "it is for tests alone")


def _shown(site: DevCluster) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(site.run("cts", "sites", "spare", "--json").stdout)
    return found[0]


def _refused(site: DevCluster, image: str) -> str:
    text = json.dumps({**JOB, "image": image})
    done = site.run("cts", "submit", "-", text=text, check=False)
    assert done.returncode == 2, done
    return done.stderr


def test_a_site_that_is_switched_off_takes_no_jobs_and_those_in_slurm_end_well(
    spare: DevCluster,
) -> None:
    image = spare.image("sleep")
    assert _shown(spare)["active"]
    job_id = spare.submit(cluster="spare", image=image, params={"args": ["3"]})
    spare.until(lambda: spare.job(job_id)["phase"] == "run")
    assert _switch(spare, "off", "spare", user="alice").returncode == 3
    done = _switch(spare, "off", "spare", "--reason", "maintenance until noon")
    assert done.stdout == "spare takes no more jobs: maintenance until noon\n"
    said = _refused(spare, image)
    assert "The site spare takes no jobs now: maintenance until noon. (appcode 60010)" in said
    shown = _shown(spare)
    assert (shown["active"], shown["available"]) == (False, False)
    assert shown["inactive_reason"] == shown["unavailable_reason"] == "maintenance until noon"
    job = spare.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _switch(spare, "on", "spare").returncode == 0
    assert spare.finish(spare.submit(cluster="spare", image=image))["state"] == "complete"
    audit = "select user, action, result from audit where target = 'spare' order by id desc limit 3"
    code = f"import sqlite3; print(sqlite3.connect('/var/lib/cts/cts.db').execute({audit!r}).fetchall())"
    rows = spare.run("python3", "-c", code, user="ctsd").stdout
    assert rows.startswith("[('ada', 'site.on', 'ok'), ('ada', 'site.off', 'ok: maintenance")


def test_what_slurm_itself_refuses_ends_the_job_with_slurms_words(spare: DevCluster) -> None:
    wanted = {
        "account": "Invalid account or account/partition combination specified",
        "qos": "Invalid qos specification",
        "reservation": "Requested reservation is invalid",
        "constraint": "Invalid feature specification",
        "partition": "invalid partition specified: gone",
        "licenses": "Invalid license specification",
    }
    image = spare.image("sleep")
    jobs = {
        field: spare.submit(cluster="spare", image=image, **{field: "gone"}) for field in wanted
    }
    jobs["gpus"] = spare.submit(cluster="spare", image=image, gpus=9)
    wanted["gpus"] = "Requested node configuration is not available"
    spare.run("cts", "wait", "--timeout", "240", *jobs.values(), check=False)
    listed = json.loads(spare.run("cts", "jobs", "--cluster", "spare", "--json").stdout)
    ended = {job["id"]: job for job in listed}
    for field, job_id in jobs.items():
        job = ended[job_id]
        assert job["state"] == "error"
        assert "Slurm refused the job: " in job["error"], (field, job["error"])
        assert wanted[field] in job["error"], (field, job["error"])
        assert job["slurm_jobs"] == []
