"""A Slurm that keeps no accounting (`AccountingStorageType` none): squeue and the node agent's own files serve.

Slurm takes a minute to forget a job, and the gateway another to believe it: `make faults` runs this, `make test` does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import asleep
from tests.sites import edited

pytestmark = pytest.mark.long
_NONE = (
    "s|^AccountingStorageType=.*|AccountingStorageType=accounting_storage/none|; "
    "s,^AccountingStorage(Enforce|TRES)=,#&,; s|^MinJobAge=.*|MinJobAge=2|"
)


@pytest.fixture
def without(site: DevCluster) -> Iterator[DevCluster]:
    """The site without an accounting, whose squeue forgets a job some seconds after its end."""
    with edited(site, "/etc/slurm/slurm.conf", _NONE, "slurmctld"):
        yield site
    site.tool("restart", "gateway")


def _known(site: DevCluster) -> set[str]:
    """The jobs that squeue has, by the names of their first submissions."""
    names = site.run("squeue", "-h", "-t", "all", "-o", "%j", user="root").stdout.split()
    return {name.rpartition("-")[0] for name in names}


def test_jobs_end_as_they_did_though_slurm_keeps_no_accounting(without: DevCluster) -> None:
    site = without
    image = site.image("sleep")
    good = site.submit(image=image, params={"args": ["3"]})
    bad = site.submit(image=site.image("fail"), params={"args": ["7"]})
    failed = site.finish(bad)
    assert f"container {bad}_0 exited with code 7" in failed["error"]
    assert site.finish(good)["state"] == "complete"

    gone = site.submit(image=image, params={"args": ["300"]}, runtime=600)
    site.until(lambda: site.job(gone)["phase"] == "run")
    ended = site.submit(image=image, params={"args": ["5"]})
    site.until(lambda: site.job(ended)["phase"] == "run")
    [slurm] = site.job(gone)["slurm_jobs"]
    # It needs the gateway for its upload; what Slurm says of its end, the gateway does not hear any more.
    with asleep(site, "ctsd", since=f"/scratch/cts/jobs/{ended}/0/result.json"):
        site.run("scancel", slurm, user="root")
        left = f"/scratch/cts/jobs/{gone}/0/result.json"
        site.run("sh", "-c", f"until [ -e {left} ]; do sleep 0.1; done; rm {left}", user="root")
        site.until(lambda: not {f"cts-{each}-0" for each in (ended, gone)} & _known(site), 180)
    site.until(lambda: site.job(ended)["state"] == "complete")
    assert site.objects(site.job(ended)["job_input"]["output_dir"]) == {"sample-2.txt": 12}
    site.until(lambda: site.job(gone)["state"] == "error")
    assert "left no result (FORGOTTEN)" in site.job(gone)["error"]
