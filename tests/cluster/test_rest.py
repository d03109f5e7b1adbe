"""Slurm by slurmrestd, beyond the contract: whole jobs, each version of its documents, and a job that is sbatch's to the field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import SiteError
from gateway.slurm.cli import CliBackend
from gateway.slurm.directives import job_fields
from gateway.slurm.protocol import SubmitLaterError
from gateway.slurm.rest import RestBackend
from gateway.slurm.slurmrestd import KNOWN, Slurmrestd
from gateway.slurm.tokens import TokenFile
from tests.cluster.backends import ROADS, USER, Road, new_tag, road_to, slurm_bin
from tests.conftest import DevCluster
from tests.sites import switched

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(1, 9)]
# Of `scontrol show job`: what is of the one submission, and not of what was asked for.
_OWN = {"JobId", "ArrayJobId", "AllocNode:Sid", "SubmitTime"}
_OF_THE_MOMENT = {"Reason", "EligibleTime", "AccrueTime", "LastSchedEval", "Scheduler", "StartTime", "EndTime"}  # fmt: skip


@pytest.fixture(scope="module")
def url(site: DevCluster) -> str:
    found: str = json.loads(site.tool("env").stdout)["slurmrestd"]
    return found


@pytest.fixture
def token(site: DevCluster, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(site.run("scontrol", "token", "lifespan=600", user=USER).stdout)
    return path


@pytest.fixture(scope="module")
def road(site: DevCluster) -> Iterator[Road]:
    with road_to(site, "rest") as found:
        yield found


@pytest.fixture(scope="module", params=sorted(ROADS.keys() & {"rest", "pyslurm"}))
def other(request: pytest.FixtureRequest, site: DevCluster) -> Iterator[Road]:
    """A road that does not submit by sbatch."""
    with road_to(site, request.param) as found:
        yield found


@pytest.fixture(scope="module")
def closed(site: DevCluster) -> Iterator[str]:
    """A partition that takes jobs and starts none."""
    new = ("PartitionName=closed", "Nodes=ALL", "MaxTime=UNLIMITED", "State=DOWN")
    site.run("scontrol", "create", *new, user="root")
    yield "closed"
    site.run("scancel", "--partition=closed", user="root")
    site.run("scontrol", "delete", "PartitionName=closed", user="root", check=False)


@pytest.fixture
def on(site: DevCluster) -> Iterator[None]:
    """The site `rest`, on for the time of a test."""
    with switched(site, "rest"):
        yield


@pytest.mark.usefixtures("on")
def test_a_job_goes_from_s3_to_s3_through_slurmrestd_and_is_accounted_for(
    site: DevCluster,
) -> None:
    image = site.image("checksum")
    job = site.finish(site.submit(cluster="rest", image=image, input_files=READS, num_containers=3))
    assert job["state"] == "complete", job["error"]
    assert job["output_file_count"] == 11
    assert len(job["slurm_jobs"]) == 1
    site.until(lambda: site.job(job["id"])["max_memory"] is not None)
    assert site.job(job["id"])["cpu_hours"] > 0


def shown(road: Road, number: str) -> dict[str, str]:
    """What `scontrol show job` says of a job, but for what is no request."""
    text = road.site.run("scontrol", "show", "job", number, user="root").stdout
    lines = [line for line in text.splitlines() if "SubmitLine=" not in line]
    pairs = [word.partition("=") for line in lines for word in line.split()]
    return {name: value for name, _, value in pairs if name not in _OWN | _OF_THE_MOMENT}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tasks": 3, "cpus": 2, "minutes": 1500, "number": 2},
        {"per_task": 3, "cpus": 2, "memory_mb": 450},
        {"nodes": 2, "cpus": 2, "gpus": 1, "constraint": "highmem"},
        {"gpus": 2, "qos": "regular", "account": "lab", "licenses": "matlab:1"},
        {"reservation": "training", "signal_seconds": 90, "constraint": "cpu&highmem"},
        {"template": "perlmutter", "constraint": "highmem", "gpus": 2, "at_once": 1},
    ],
    ids=["plain", "array", "packed", "several-nodes", "gpus", "reservation", "perlmutter"],
)
def test_the_job_that_slurm_shows_is_the_one_that_sbatch_makes(
    other: Road, closed: str, values: dict[str, Any]
) -> None:
    script = other.write(new_tag(), 0, **{**values, "partition": closed})
    by_rest = other.backend.submit(script)
    by_sbatch = CliBackend(other.hands, None, USER, 60).submit(script)
    found, wanted = shown(other, by_rest), shown(other, by_sbatch)
    if other.backend.name == "pyslurm":  # which has no call for these
        for each in (found, wanted):
            each.pop("OOMKillStep", None)
            each.pop("TresPerTask", None)
    assert found == wanted
    assert "PENDING" in found.values()


def test_a_job_begins_with_a_small_environment_and_sbatchs_umask(road: Road) -> None:
    tag = new_tag()
    path = road.write(tag, 0)
    folder = path.rpartition("/")[0]
    script = road.hands.read_file(path)
    assert script is not None
    body = script.rpartition(b"exec ")[0] + b"umask > mask; ulimit -c >> mask; env > environment\n"
    road.hands.write_files([(path, body)])
    number = road.backend.submit(path)
    road.site.until(lambda: road.hands.read_file(f"{folder}/environment") not in (None, b""))
    assert road.hands.read_file(f"{folder}/mask") == b"0077\n0\n"
    names = {line.partition(b"=")[0] for line in (road.hands.read_file(f"{folder}/environment") or b"").splitlines()}  # fmt: skip
    others = {name for name in names if not name.startswith(b"SLURM")}
    assert {b"PATH", b"USER", b"LOGNAME", b"LANG", b"TZ"} <= others
    assert not any(b"JWT" in name or b"TOKEN" in name for name in names)
    road.backend.cancel([number])


def offered(url: str, token: Path) -> dict[str, Any]:
    headers = {"X-SLURM-USER-NAME": USER, "X-SLURM-USER-TOKEN": TokenFile(token).get()}
    document: dict[str, Any] = httpx.get(f"{url}/openapi/v3", headers=headers).json()
    return document


def test_every_version_that_slurmrestd_offers_has_every_field_that_is_sent(
    url: str, token: Path
) -> None:
    document = offered(url, token)
    schemas = document["components"]["schemas"]
    full = """\
#SBATCH --job-name=a
#SBATCH --comment=a
#SBATCH --chdir=/
#SBATCH --output=/a
#SBATCH --error=/a
#SBATCH --open-mode=append
#SBATCH --array=0-1
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --ntasks-per-core=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=1M
#SBATCH --gpus-per-node=1
#SBATCH --gpus-per-task=1
#SBATCH --time=1
#SBATCH --time-min=1
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --partition=a
#SBATCH --account=a
#SBATCH --qos=a
#SBATCH --constraint=a
#SBATCH --reservation=a
#SBATCH --licenses=a
"""
    sent = set(job_fields(full)) | {"script", "argv", "environment", "rlimits"}
    versions = [v for v in KNOWN if f"/slurm/{v}/job/submit" in document["paths"]]
    assert len(versions) >= 4
    for version in versions:
        more = set() if version == "v0.0.41" else {"oom_kill_step"}
        assert sent | more <= schemas[f"{version}_job_desc_msg"]["properties"].keys(), version


def test_each_version_submits_finds_shows_and_cancels(
    road: Road, url: str, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    versions = [v for v in KNOWN if f"/slurm/{v}/job/submit" in offered(url, token)["paths"]]
    commands = CliBackend(road.hands, None, USER, 60)
    jobs: dict[str, tuple[RestBackend, str, str]] = {}
    for version in versions:
        rest = Slurmrestd(url, TokenFile(token), USER, None, known=[version])
        backend = RestBackend(rest, road.hands, slurm_bin(road.site), USER, 60)
        tag = new_tag()
        jobs[version] = (backend, tag, backend.submit(road.write(tag, 7, "sleep")))

    def ended(backend: RestBackend, number: str) -> bool:
        records = {r.task: r for r in backend.accounting(since) if r.slurm_job_id == number}
        return 0 in records and records[0].end is not None and bool(records[0].steps)

    for version, (backend, tag, number) in jobs.items():
        assert rest_version(backend) == version
        road.site.until(lambda b=backend, n=number: ended(b, n))  # type: ignore[misc]
        (failed,) = [
            r for r in backend.accounting(since) if (r.slurm_job_id, r.task) == (number, 0)
        ]
        assert (failed.state, failed.exit_code, failed.comment) == ("FAILED", "7:0", tag)
        assert {step.name for step in failed.steps} >= {"batch", "run"}
        assert backend.limits() == commands.limits()
        assert {p.name for p in backend.partitions()} >= {"regular", "debug"}
        backend.cancel([f"{number}_1"])
        road.site.until(
            lambda b=backend, n=number: (  # type: ignore[misc]
                {"CANCELLED"} == {t.state for t in b.queue() if (t.slurm_job_id, t.task) == (n, 1)}
            )
        )
        assert tag in str(backend.show([number], 60).controller)


def rest_version(backend: RestBackend) -> str:
    return backend._rest.version()


def test_a_token_of_another_key_and_one_that_has_ended_are_told_apart(
    road: Road, url: str, token: Path
) -> None:
    good = token.read_text()
    head, _, _ = good.rpartition(".")
    rest = Slurmrestd(url, TokenFile(token), USER, None)
    backend = RestBackend(rest, road.hands, slurm_bin(road.site), USER, 60)
    assert isinstance(backend.queue(), list)
    token.write_text(f"{head}.c2lnbmVkIGJ5IG5vYm9keQ")
    script = road.write(new_tag(), 0)
    with pytest.raises(SiteError, match=f"does not accept the token for {USER} of {token}"):
        backend.queue()
    with pytest.raises(SiteError, match=f"does not accept the token for {USER} of {token}"):
        backend.submit(script)
    token.write_text(road.site.run("scontrol", "token", "lifespan=1", user="alice").stdout)
    with pytest.raises(SiteError, match="token"):
        backend.queue()
    road.site.until(lambda: "ended at" in trouble(backend))
    with pytest.raises(SubmitLaterError, match=r"ended at .* UTC; put a new one there"):
        backend.submit(script)
    token.write_text(good)
    assert isinstance(backend.queue(), list)


def trouble(backend: RestBackend) -> str:
    try:
        return str(backend.queue())
    except SiteError as exc:
        return str(exc)
