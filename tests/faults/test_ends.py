"""Five ends that are no success, side by side: each has its own sentence, which says what to do.

The sentences are printed (`pytest -s`). Slurm's time limits are whole minutes: `make faults` runs this, `make test` does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import DevCluster
from tests.faults.slurm import left_in_slurm
from tests.sites import edited

pytestmark = pytest.mark.long


@pytest.fixture
def strict(site: DevCluster) -> Iterator[DevCluster]:
    """The site with a gateway that runs nothing again whose node was lost."""
    zero = r"s/^\[sites\.dev\]$/&\nmax_requeues = 0/"
    with edited(site, "/etc/cts/gateway.toml", zero, "gateway"):
        yield site


def test_five_jobs_that_end_badly_have_five_messages(strict: DevCluster) -> None:
    site = strict
    image = site.image("sleep")
    long = {name: site.submit(image=image, params={"args": ["300"]}, runtime=600) for name in ("TIMEOUT", "NODE_FAIL", "scancel")}  # fmt: skip
    jobs = {
        **long,
        "OUT_OF_MEMORY": site.submit(image=site.image("memory"), params={"args": ["2000"]}),
        "exit code": site.submit(image=site.image("fail"), params={"args": ["7"]}),
    }
    site.until(lambda: {site.job(each)["phase"] for each in long.values()} == {"run"})
    slurm = {name: site.job(each)["slurm_jobs"][0] for name, each in long.items()}

    node = site.containers(long["NODE_FAIL"])[0]["node"]
    site.run("scontrol", "update", f"jobid={slurm['TIMEOUT']}", "timelimit=1", user="root")
    site.run("scontrol", "update", f"jobid={slurm['NODE_FAIL']}", "requeue=0", user="root")
    site.run("sacctmgr", "-i", "add", "user", "bob", "account=dev", user="root", check=False)
    site.run("sacctmgr", "-i", "modify", "user", "where", "name=bob", "set", "adminlevel=operator", user="root")  # fmt: skip
    site.run("scancel", slurm["scancel"], user="bob")
    site.run("sacctmgr", "-i", "modify", "user", "where", "name=bob", "set", "adminlevel=none", user="root")  # fmt: skip
    for name in ("TIMEOUT", "scancel", "OUT_OF_MEMORY", "exit code"):
        site.finish(jobs[name])
    site.tool("kill", f"slurmd-{node}")
    site.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test", user="root")
    site.finish(jobs["NODE_FAIL"])

    said = {name: site.job(each)["error"] for name, each in jobs.items()}
    for name, error in said.items():
        print(f"{name}: {error}")
        assert site.job(jobs[name])["state"] == "error"
        assert not left_in_slurm(site, jobs[name])
    assert "Slurm's time limit of the job came" in said["TIMEOUT"]
    assert "ask for a longer runtime" in said["TIMEOUT"]
    assert "(OUT_OF_MEMORY); ask for more memory than 50MB" in said["OUT_OF_MEMORY"]
    assert "lost its compute node (NODE_FAIL); submit the job again" in said["NODE_FAIL"]
    assert "was cancelled in Slurm (CANCELLED)" in said["scancel"]
    assert "by bob" in said["scancel"]
    assert "exited with code 7" in said["exit code"]
