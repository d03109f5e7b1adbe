"""A disk fills while a job uses it: in the midst of its inputs, of its outputs, and when the daemon writes. Each is told, nothing is lost."""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.conftest import CHECKOUT, DevCluster
from tests.faults.proxy import Fault, Proxy, between
from tests.sites import switched

MIB = 1 << 20
SAMPLE = "sample-data/reads/sample-8.txt"  # 20 MB
WORK, SCRATCH = "/scratch/cts-spare", "/scratch-small"
_ALWAYS = 1 << 20
_FULL = "No space left on device"


@contextlib.contextmanager
def _disk(site: DevCluster, path: str, size: str) -> Iterator[None]:
    """A file system of its own, of that size, for the user of the jobs."""
    options = f"size={size},mode=700,uid=ctsjob,gid=ctsjob"
    site.run("mkdir", "-p", path, user="root")
    site.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", path, user="root")
    try:
        yield
    finally:
        site.run("umount", "-l", path, user="root")


@pytest.fixture(scope="module")
def proxied(site: DevCluster) -> Iterator[Proxy]:
    """The site `spare`, whose work directory is a small disk, and `dev`, whose nodes have one; their line to the store."""
    scratch = rf's#^\[sites\.dev\]#&\nscratch = "{SCRATCH}"#'
    with contextlib.ExitStack() as stack:
        stack.enter_context(_disk(site, WORK, "128M"))
        stack.enter_context(_disk(site, SCRATCH, "128M"))
        stack.callback(site.tool, "restart", "gateway")
        proxy = stack.enter_context(between(site, more=scratch))
        stack.enter_context(switched(site, "spare"))
        yield proxy


@contextlib.contextmanager
def _filled(site: DevCluster, path: str, *, again: bool = False) -> Iterator[None]:
    """A disk that is full for the time of a block; `again`: what is freed meanwhile is taken, too."""
    file = f"{path}/.filler"
    site.run("sh", "-c", 'cat /dev/zero > "$1" 2>/dev/null; test -s "$1"', "sh", file, user="root")
    more = 'while [ -e "$1" ]; do cat /dev/zero >> "$1"; sleep 0.02; done 2>/dev/null'
    command = ("exec", "--", "sh", "-c", more if again else "", "sh", file)
    filling = subprocess.Popen([str(CHECKOUT / "deploy/devcluster"), *site.options, *command])
    try:
        yield
    finally:
        filling.kill()
        filling.wait()
        site.run("rm", "-f", file, user="root")


def _same(site: DevCluster, job: dict[str, Any], inputs: Sequence[str] = (SAMPLE,)) -> bool:
    """Whether the outputs in S3 are the inputs, which are of one folder, byte for byte."""
    fetch = 'aws s3 cp --only-show-errors --recursive --exclude "*" "$@"'
    script = (
        'set -e; cd "$(mktemp -d)"; from=$1; to=$2; shift 2; '
        f'{fetch} "s3://$from" in; {fetch} "s3://$to" out; diff -r in out >&2; ls out | wc -l'
    )
    names = [path.rpartition("/")[2] for path in inputs]
    only = [word for name in names for word in ("--include", name)]
    folders = inputs[0].rpartition("/")[0], job["job_input"]["output_dir"].rstrip("/")
    done = site.run("sh", "-c", script, "sh", *folders, *only, check=False)
    return done.returncode == 0 and int(done.stdout) == len(inputs)


@pytest.fixture(scope="module")
def many(site: DevCluster) -> list[str]:
    """Objects, more than a node fetches at one time: what it fetches has its room on the disk already."""
    folder = f"results/disk-{uuid.uuid4().hex}"
    script = (
        "set -e; cd $(mktemp -d); for n in $(seq 20); do head -c 2000000 /dev/urandom > $n.bin; done; "
        'aws s3 cp --only-show-errors --recursive . "s3://$1"'
    )
    site.run("sh", "-c", script, "sh", folder)
    return [f"{folder}/{n}.bin" for n in range(1, 21)]


@pytest.mark.parametrize(("name", "disk"), [("spare", WORK), ("dev", SCRATCH)])
def test_a_disk_that_fills_while_inputs_are_fetched_ends_the_job_with_one_message(
    site: DevCluster, proxied: Proxy, many: list[str], name: str, disk: str
) -> None:
    proxied.plan(Fault("slow", after=0, times=_ALWAYS, rate=MIB // 4))
    begin = proxied.passed[True]
    job_id = site.submit(cluster=name, image=site.image("checksum"), input_files=many)
    site.until(lambda: proxied.passed[True] - begin > 4 * MIB)
    with _filled(site, disk):
        job = site.finish(job_id)
        assert job["state"] == "error"
        assert f"the inputs cannot be written: {_FULL}. Read its logs" in job["error"]
        found = site.run("find", disk, f"/scratch/cts/jobs/{job_id}", "-name", "*.bin", user="root", check=False)  # fmt: skip
        assert found.stdout == ""
    proxied.heal()
    assert site.objects(job["job_input"]["output_dir"]) == {}
    site.run("cts", "admin", "job", "restart", job_id, user="ada")
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _same(site, job, many)


@pytest.mark.parametrize(("name", "disk"), [("spare", WORK), ("dev", SCRATCH)])
def test_a_disk_that_fills_while_the_container_writes_is_named_in_its_error(
    site: DevCluster, proxied: Proxy, name: str, disk: str
) -> None:
    script = "cat /dev/zero > /output_files/big"
    job = site.finish(site.submit(cluster=name, image=site.image("checksum"), script=script))
    assert job["state"] == "error"
    assert "exited with code 1; the disk of its outputs was full. Read its logs" in job["error"]
    said = site.run("cts", "logs", "--stderr", "-c", "0", job["id"]).stdout
    assert name == "spare" or _FULL in said  # its log has a disk of its own
    assert site.objects(job["job_input"]["output_dir"]) == {}
    # What a failed job has written is kept.
    site.run("find", disk, f"/scratch/cts/jobs/{job['id']}", "-name", "big", "-delete", user="root", check=False)  # fmt: skip


@pytest.mark.usefixtures("proxied")
def test_a_full_work_directory_delays_a_job_that_is_submitted_and_no_more(site: DevCluster) -> None:
    image = site.image("checksum")
    with _filled(site, WORK):
        job_id = site.submit(cluster="spare", image=image, input_files=[SAMPLE])
        site.until(lambda: _FULL in (site.job(job_id)["reason"] or ""))
        assert site.job(job_id)["slurm_jobs"] == []
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert len(job["slurm_jobs"]) == 1
    assert _same(site, job)


@pytest.mark.usefixtures("proxied")
def test_a_node_that_cannot_ask_and_a_daemon_that_cannot_answer_wait_for_room(
    site: DevCluster,
) -> None:
    script = (
        "cp /input_files/*.txt /output_files/; while [ ! -e /output_files/go ]; do sleep 0.2; done"
    )
    job_id = site.submit(cluster="spare", image=site.image("shell"), input_files=[SAMPLE], script=script)  # fmt: skip
    folder = f"{WORK}/jobs/{job_id}/0"
    step = ("pgrep", "-f", f"step stage-out {WORK}/jobs/{job_id}/job.json")
    asked = ("sh", "-c", f"ls {WORK}/mailbox/{job_id}.*")
    copied = ("find", f"{folder}/out", "-size", "20000000c")
    site.until(lambda: site.run(*copied, user="root", check=False).stdout != "")
    # Neither has room: the node tries to ask again and again.
    with _filled(site, WORK, again=True):
        site.run("touch", f"{folder}/out/go", user="root")
        site.until(lambda: site.run(*step, user="root", check=False).stdout != "")
        time.sleep(6)  # longer than the node rests
        assert site.run(*step, user="root").stdout != ""
        assert site.run(*asked, user="root", check=False).stdout == ""
        site.run("pkill", "-STOP", "-x", "-u", "ctsd", "ctsd", user="root")
    try:
        site.until(lambda: site.run(*asked, user="root", check=False).stdout != "")
    finally:
        # It has asked; now the daemon has no room for its answer.
        with _filled(site, WORK, again=True):
            site.run("pkill", "-CONT", "-x", "-u", "ctsd", "ctsd", user="root")
            site.until(lambda: "answering a node waits" in (site.job(job_id)["reason"] or ""))
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _same(site, job)
