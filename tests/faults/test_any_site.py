"""A job for any site goes to the one whose Slurm would start it first; what Slurm says now is shown of each site.

The sites are one Slurm with other settings; `debug`, which is one node, is only `dev`'s. Which is first depends on what else
runs there: these tests have the cluster to themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.backends import USER
from tests.conftest import DevCluster
from tests.sites import switched

pytestmark = pytest.mark.cluster


@pytest.fixture
def two(site: DevCluster) -> Iterator[DevCluster]:
    """The sites `dev`, at the partition `regular`, and `spare`, at `debug`, which is n1 alone: on for the time of a test."""
    with switched(site, "spare", "on"):
        yield site


def _dry(site: DevCluster, **fields: Any) -> Any:
    job = {"cluster": "any", "input_files": ["sample-data/reads/sample-2.txt"], "output_dir": "results/any"}  # fmt: skip
    text = json.dumps({**job, "image": site.image("checksum"), **fields})
    return site.run("cts", "submit", "--dry-run", "--json", "-", text=text, check=False)


def _update(site: DevCluster, *words: str) -> None:
    site.run("scontrol", "update", *words, user="root")


def test_the_site_that_would_start_first_is_taken_and_the_history_says_why(two: DevCluster) -> None:
    image = two.image("checksum")
    first = two.submit(cluster="any", image=image)
    _update(two, "partitionname=regular", "state=down")
    try:
        second = two.submit(cluster="any", image=image)
        job = two.finish(second)
    finally:
        _update(two, "partitionname=regular", "state=up")
    assert (job["state"], job["job_input"]["cluster"]) == ("complete", "spare"), job["error"]
    assert job["transition_times"][0]["detail"].startswith(
        "any site: spare is taken; would start: spare at once; "
        "dev not as things are (the partition regular is DOWN); left out: packed: "
    )
    job = two.finish(first)
    assert (job["state"], job["job_input"]["cluster"]) == ("complete", "dev"), job["error"]
    assert job["transition_times"][0]["detail"].startswith(
        "any site: dev is taken; would start: dev at once; spare at once; left out: packed: "
    )


def test_a_site_whose_nodes_are_in_use_comes_after_one_with_free_nodes(two: DevCluster) -> None:
    where = ("-A", "dev", "-p", "debug", "-t", "20", "-D", "/", "-o", "/dev/null")
    busy = ("sbatch", "--parsable", *where, "--exclusive", "--wrap", "sleep 600")
    number = two.run(*busy, user=USER).stdout.strip()
    try:
        runs = ("squeue", "-h", "-t", "R", "-o", "%A", f"--jobs={number}")
        two.until(lambda: two.run(*runs, user="root").stdout.strip() == number)
        with switched(two, "remote", "on"):
            found = json.loads(_dry(two).stdout)
        assert found["cluster"] == "dev"
        assert "dev at once; remote at once; spare at 20" in found["cluster_choice"]
    finally:
        two.run("scancel", number, user="root")


def test_where_one_is_off_another_takes_it_and_runs_it(two: DevCluster) -> None:
    image = two.image("checksum")
    with switched(two, "dev", "off"):
        done = two.run(
            *("ctsbatch", "--parsable", "-M", "any", "--image", image, "--mem", "50M"),
            *("--input", "sample-data/reads/sample-2.txt", "--output", "results/any/batch"),
        )
    job = two.finish(done.stdout.strip())
    assert (job["state"], job["job_input"]["cluster"]) == ("complete", "spare"), job["error"]


def test_what_only_one_site_offers_is_run_there(two: DevCluster) -> None:
    shown = json.loads(_dry(two, constraint="highmem", gpus=1).stdout)
    assert shown["cluster"] == "dev"
    assert "spare: constraint: spare does not offer 'highmem'" in shown["cluster_choice"]
    assert "#SBATCH --gpus-per-task=1" in shown["scripts"][0]


def test_where_none_fits_each_site_says_why(two: DevCluster) -> None:
    done = _dry(two, cpus=64)
    assert done.returncode == 2
    assert "no site takes this job now; dev: cpus: must be at most 16 at dev" in done.stderr
    assert "appcode 30001" in done.stderr
    assert "cluster: spare: cpus: must be at most 16 at spare" in done.stderr
    assert "cluster: packed: The site packed takes no jobs now: it is for tests" in done.stderr


def test_a_site_whose_slurm_refuses_the_job_is_left_out(two: DevCluster) -> None:
    done = _dry(two, qos="gone")
    assert "spare: Slurm refuses the job: Invalid qos specification" in done.stderr
    assert "dev: qos: dev does not offer 'gone'" in done.stderr


def test_partitions_and_nodes_are_shown_as_slurm_has_them(site: DevCluster) -> None:
    def now() -> dict[str, Any]:
        shown = json.loads(site.run("cts", "sites", "dev", "--json").stdout)[0]["slurm"]
        assert shown["error"] is None
        assert 0 <= shown["age_seconds"] < 60
        return {each["name"]: each for each in shown["partitions"]}

    found = now()
    assert list(found) == ["regular", "debug"]
    assert (found["regular"]["default"], found["regular"]["max_runtime_min"]) == (True, 2880)
    assert found["debug"]["nodes"] == 1
    site.run("scontrol", "update", "nodename=n1", "state=drain", "reason=test", user="root")
    try:
        site.until(lambda: now()["debug"]["nodes_other"] == 1)
        assert now()["regular"]["nodes"] == 4
    finally:
        site.run("scontrol", "update", "nodename=n1", "state=resume", user="root")
