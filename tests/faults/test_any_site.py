"""A site is off, and a job for any site goes elsewhere: no other test could use the site meanwhile."""

from __future__ import annotations

from tests.cluster.test_any_site import switched, two
from tests.conftest import DevCluster

__all__ = ["two"]


def test_where_one_is_off_another_takes_it_and_runs_it(two: DevCluster) -> None:
    image = two.image("checksum")
    with switched(two, "dev", "off"):
        done = two.run(
            *("ctsbatch", "--parsable", "-M", "any", "--image", image, "--mem", "50M"),
            *("--input", "sample-data/reads/sample-2.txt", "--output", "results/any/batch"),
        )
    job = two.finish(done.stdout.strip())
    assert (job["state"], job["job_input"]["cluster"]) == ("complete", "spare"), job["error"]
