"""No S3 key comes near a node, and no presigned URL to anybody but its container, at any moment of a job's way.

A search goes over files, processes and Slurm all the while (`seeking`). The job carries marks of its own in each kind of place: what
finds those would find a key.
"""

from __future__ import annotations

import contextlib
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from devclusterlib.storage import S3_KEYS

from tests.conftest import DevCluster
from tests.faults.proxy import Fault, Proxy, between
from tests.faults.seeking import Report, Seeking, seeking
from tests.sites import switched

MIB = 1 << 20
SAMPLE = "sample-data/reads/sample-3.txt"
SIZE = 70 * MIB  # more than a part of an upload
KEY_ID, SECRET = S3_KEYS["cts"]
PHASES = ("stage-in", "run", "stage-out")
_RATE = 8 * MIB
# Runs until it is told to end: by a file that somebody puts among its outputs.
_SCRIPT = (
    "while [ ! -e /output_files/go ]; do sleep 0.2; done; cp /input_files/*.bin /output_files/"
)


@dataclass(frozen=True)
class Way:
    """A job on its way, and the search beside it."""

    site: DevCluster
    proxy: Proxy
    search: Seeking
    job_id: str
    work: str

    @property
    def folder(self) -> str:
        """The directory of its container."""
        return f"{self.work}/jobs/{self.job_id}/0"

    def tell(self, signal: str, phase: str) -> None:
        """Send a signal to the processes of a phase."""
        what = f"step {phase} {self.work}/jobs/{self.job_id}/job.json"
        self.site.run("pkill", f"-{signal}", "-f", what, user="root")

    def shell(self, script: str) -> str:
        """Run something in the site as root."""
        return self.site.run("sh", "-c", script, user="root", check=False).stdout

    def moves(self, *, down: bool) -> None:
        """Wait until some of the object has gone over the line."""
        begin = self.proxy.passed[down]
        self.site.until(lambda: self.proxy.passed[down] - begin > 2 * MIB)


@pytest.fixture(scope="module")
def proxied(site: DevCluster) -> Iterator[Proxy]:
    """A line to the store that is so slow that all can be looked at while something goes over it."""
    with between(site, grant_seconds=600) as proxy:
        for down in (True, False):
            proxy.plan(Fault("slow", down=down, times=1 << 20, rate=_RATE))
        yield proxy


@pytest.fixture(scope="module")
def made(site: DevCluster) -> str:
    """An object of more than a part."""
    key = f"results/keys-{uuid.uuid4().hex}/in.bin"
    script = f'head -c {SIZE} /dev/urandom | aws s3 cp --only-show-errors - "s3://$1"'
    site.run("sh", "-c", script, "sh", key)
    return key


@contextlib.contextmanager
def _marked_in_slurm(site: DevCluster, mark: str) -> Iterator[None]:
    """A job of Slurm alone that has a mark in its environment, its script, its comment and its arguments."""
    script = f"#!/bin/sh\n# {mark}\nexec python3 -c 'import time; time.sleep(600)' {mark}\n"
    command = ("sbatch", "--parsable", "--comment", mark, "--output=/dev/null", "--account=dev")
    environment = ("env", f"MARK={mark}")
    done = site.run(*environment, *command, user="ctsjob", text=script)
    number = done.stdout.strip()
    try:
        show = ("squeue", "-h", "-j", number, "-o", "%T")
        site.until(lambda: site.run(*show, user="root").stdout.strip() == "RUNNING")
        yield
    finally:
        site.run("scancel", number, user="root")


@contextlib.contextmanager
def _way(site: DevCluster, proxy: Proxy, made: str, name: str) -> Iterator[Way]:
    """A job that is in Slurm, whose partition is down; and a search that has begun."""
    work = "/scratch/cts" if name == "dev" else f"/scratch/cts-{name}"
    mark, slurm_mark = (f"mark-{uuid.uuid4().hex}" for _ in range(2))
    words = {"secret": SECRET, "mark": mark, "slurm mark": slurm_mark}
    fields: dict[str, Any] = {
        "cluster": name,
        "image": site.image("shell"),
        "input_files": [made, SAMPLE],
        "script": f"# {mark}\n{_SCRIPT}",
        "params": {"args": [mark], "environment": {"MARK": mark}},
        "runtime": 300,
    }
    with contextlib.ExitStack() as stack:
        if name != "dev":
            stack.enter_context(switched(site, name))
        stack.enter_context(_marked_in_slurm(site, slurm_mark))
        search = stack.enter_context(seeking(site, KEY_ID, words))
        _partition(site, "down")
        stack.callback(_partition, site, "up")
        job_id = site.submit(**fields)
        site.until(lambda: site.job(job_id)["slurm_jobs"] != [])
        yield Way(site, proxy, search, job_id, work)


def _partition(site: DevCluster, state: str) -> None:
    site.run("scontrol", "update", "partitionname=regular", f"state={state}", user="root")


@contextlib.contextmanager
def _grants_lie_there(way: Way, phase: str) -> Iterator[None]:
    """What happens in the block makes a step ask for its grants; after it they are there, and the step asleep, to be looked at."""
    way.shell("pkill -STOP -x -u ctsd ctsd")
    try:
        yield
        asked = f'grep -l \'"kind": "{phase}"\' {way.work}/mailbox/{way.job_id}.*.json'
        way.site.until(lambda: way.shell(asked) != "")
        way.search.look()
        way.tell("STOP", phase)
    finally:
        way.shell("pkill -CONT -x -u ctsd ctsd")
    way.site.until(lambda: way.shell(f"ls {way.folder}/grants") != "")


def _check(way: Way, report: Report, made: str, *, by_mailbox: bool) -> None:
    """See that the search saw the job go its way, and its marks, and no key; and URLs where they may be alone."""
    print(f"job {way.job_id} in {way.work}: {report.counts}, {len(report.urls)} presigned URLs in grants")  # fmt: skip
    number = int(way.job_id)
    assert {phase for job, phase in report.phases if job == number} == set(PHASES)
    # Had a key been in any of these, it would have been found there.
    assert report.kinds("mark") >= {"file", "argv", "environ", "memory"}
    assert report.kinds("slurm mark") >= {"file", "argv", "environ", "memory", "slurm"}
    spooled = {each.place.split("/")[3] for each in report.found if each.word == "slurm mark" and each.kind == "file"}  # fmt: skip
    assert "slurmctld" in spooled
    assert any(folder.startswith("slurmd-n") for folder in spooled)
    # The daemon has it in its memory, and nothing else has it anywhere.
    held = {each for each in report.found if each.word in ("secret", "key id")}
    assert {(each.word, each.kind, each.place.split()[0]) for each in held} == {
        ("secret", "memory", "ctsd")
    }, held
    outputs = urlsplit(f"http://x/{way.site.job(way.job_id)['job_input']['output_dir']}").path
    mine = {f"/{made}", f"/{SAMPLE}", f"{outputs}in.bin", f"{outputs}go"}
    owner = int(way.shell("id -u ctsjob"))
    granted = set()
    for url in report.urls:
        path = unquote(urlsplit(url.url).path)
        if url.place.startswith(f"file {way.folder}/grants/"):
            assert (stat.S_IMODE(url.mode), url.uid) == (0o600, owner), url
            granted.add(path)
        elif not url.place.startswith("file /var/lib/cts/"):
            raise AssertionError(url)
        else:  # a user may have an event sent to a URL that the gateway presigned for their own file
            assert path not in mine - {f"/{SAMPLE}"}, url
    assert granted == (mine if by_mailbox else set()), granted


@pytest.mark.parametrize(
    "name", ["dev", *(pytest.param(name, marks=pytest.mark.long) for name in ("remote", "rest"))]
)
def test_no_key_is_anywhere_near_the_nodes_while_a_job_is_on_its_way(
    site: DevCluster, proxied: Proxy, made: str, name: str
) -> None:
    with _way(site, proxied, made, name) as way:
        with _grants_lie_there(way, "stage-in"):
            _partition(site, "up")
        way.search.look()
        way.tell("CONT", "stage-in")
        way.moves(down=True)
        way.search.look()
        site.until(lambda: site.job(way.job_id)["phase"] == "run")
        way.search.look()
        with _grants_lie_there(way, "stage-out"):
            way.shell(f"touch {way.folder}/out/go")
        way.search.look()
        way.tell("CONT", "stage-out")
        way.moves(down=False)
        way.search.look()
        job = site.finish(way.job_id)
        assert job["state"] == "complete", job["error"]
        _check(way, way.search.look(), made, by_mailbox=True)


def test_where_grants_come_over_tls_no_file_has_a_presigned_url(
    site: DevCluster, proxied: Proxy, made: str
) -> None:
    with _way(site, proxied, made, "packed") as way:
        _partition(site, "up")
        way.moves(down=True)
        way.search.look()
        site.until(lambda: site.job(way.job_id)["phase"] == "run")
        way.search.look()
        way.shell(f"touch {way.folder}/out/go")
        way.moves(down=False)
        way.search.look()
        job = site.finish(way.job_id)
        assert job["state"] == "complete", job["error"]
        _check(way, way.search.look(), made, by_mailbox=False)
