"""The line between the nodes and the object store fails in each way: nothing is lost, no byte is wrong, each is told."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.faults.proxy import Fault, Proxy, between
from tests.large import through

MIB = 1 << 20
SAMPLE = "sample-data/reads/sample-8.txt"  # 20 MB
_ALWAYS = 1 << 20


@pytest.fixture(scope="module")
def proxied(site: DevCluster) -> Iterator[Proxy]:
    """The proxy, with a daemon that has its address for RGW's."""
    with between(site) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _healed(proxied: Proxy) -> Iterator[None]:
    """No fault outlives its test."""
    yield
    proxied.heal()


def _log_in_run(site: DevCluster, job_id: str) -> str:
    """The log of a job's node, once its inputs are there; with its end it is gone."""
    site.until(lambda: site.job(job_id)["phase"] == "run")
    path = f"/scratch/cts/jobs/{job_id}/slurm-0-0.log"
    return site.run("cat", path, user="root").stdout


def _same(
    site: DevCluster, job: dict[str, Any], name: str = "sample-8.txt", given: str = SAMPLE
) -> bool:
    """Whether an output in S3 is what was given, byte for byte."""
    script = 'for o; do aws s3 cp --only-show-errors "s3://$o" - | sha256sum; done | uniq | wc -l'
    out = f"{job['job_input']['output_dir']}{name}"
    return site.run("sh", "-c", script, "sh", given, out).stdout.strip() == "1"


def _uploads(site: DevCluster, output_dir: str) -> list[str]:
    """Keys of multipart uploads that are under way below an output directory."""
    bucket, _, prefix = output_dir.partition("/")
    text = site.run(
        "aws", "s3api", "list-multipart-uploads", "--bucket", bucket, "--prefix", prefix
    ).stdout
    return [row["Key"] for row in json.loads(text or "{}").get("Uploads", [])]


@contextlib.contextmanager
def _small_disk(site: DevCluster, job_id: str) -> Iterator[None]:
    """Put a job's container onto a file system of 8 MB, before any node has begun with it."""
    folder = f"/scratch/cts/jobs/{job_id}/0"
    script = (
        'set -e; cp -a "$1" "$1.kept"; mount -t tmpfs -o size=8M,mode=700,uid=ctsjob,gid=ctsjob tmpfs "$1"; '
        'cp -a "$1.kept/." "$1"; rm -r "$1.kept"'
    )
    site.run("sh", "-c", script, "sh", folder, user="root")
    try:
        yield
    finally:
        site.run("umount", "-l", folder, user="root")


def test_a_large_object_comes_through_two_cuts_and_a_restart_of_the_daemon(
    site: DevCluster, proxied: Proxy
) -> None:
    for down, rate in ((True, 5 * MIB), (False, 20 * MIB)):  # a second or so for each half
        proxied.plan(Fault("slow", down=down, after=0, times=_ALWAYS, rate=rate))
    done = through(site, proxied, 200 * MIB, 4, lambda _: None)
    assert done.job["state"] == "complete", done.job["error"]
    assert min(done.cuts) > 0
    assert done.same
    assert _uploads(site, done.job["job_input"]["output_dir"]) == []


def test_five_faults_are_five_messages_and_no_byte_is_wrong(
    site: DevCluster, proxied: Proxy
) -> None:
    image = site.image("checksum")

    # Its URL expires while the node sleeps; all else happens meanwhile.
    proxied.plan(Fault("slow", after=MIB, times=_ALWAYS, rate=MIB))
    begin = proxied.passed[True]
    slow: dict[str, Any] = {
        "image": site.image("sleep"),
        "input_files": [SAMPLE],
        "params": {"args": ["3"]},
    }
    expired = site.submit(**slow, runtime=300)
    site.until(lambda: proxied.passed[True] - begin > 2 * MIB)
    site.until(lambda: site.containers(expired)[0]["progress"] is not None)
    shown = site.run("cts", "show", f"{expired}_0").stdout
    assert re.search(
        r"^Progress +[0-9.]+[KM] of 19\.07M \([0-9]+%\), [0-9.]+[KM]/s, 00:00:[0-9]{2} left$",
        shown,
        re.MULTILINE,
    )
    step = f"step stage-in /scratch/cts/jobs/{expired}/job.json"
    site.run("pkill", "-STOP", "-f", step, user="root")
    asleep = time.monotonic()
    proxied.heal()
    proxied.cut()

    proxied.plan(Fault("corrupt", times=_ALWAYS))
    job = site.finish(site.submit(image=image, input_files=[SAMPLE]))
    assert job["state"] == "error"
    assert proxied.done["corrupt"] >= 3  # it was fetched anew that often
    assert "is wrong after the transfer" in job["error"]
    assert site.objects(job["job_input"]["output_dir"]) == {}
    proxied.heal()

    proxied.plan(Fault("truncate"))
    proxied.plan(Fault("drop", after=MIB))
    proxied.plan(Fault("corrupt", down=False))
    before = proxied.done["corrupt"]
    job_id = site.submit(**slow)
    assert "bytes early; again in" in _log_in_run(site, job_id)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _same(site, job)
    assert proxied.done["truncate"] == proxied.done["drop"] == 1
    assert proxied.done["corrupt"] == before + 1  # on the way up: the store took no such byte
    proxied.heal()

    _changed_object_and_full_disk(site, image)

    site.until(lambda: time.monotonic() - asleep > 61, 90)
    site.run("pkill", "-CONT", "-f", step, user="root")
    assert "its URL has expired; a new one is asked for" in _log_in_run(site, expired)
    job = site.finish(expired)
    assert job["state"] == "complete", job["error"]
    assert _same(site, job)


def _changed_object_and_full_disk(site: DevCluster, image: str) -> None:
    # Nodes begin with the next two when all is prepared.
    site.run("scontrol", "update", "partitionname=regular", "state=down", user="root")
    try:
        key = f"results/changes-{uuid.uuid4().hex}"
        site.run("aws", "s3", "cp", "--only-show-errors", f"s3://{SAMPLE}", f"s3://{key}")
        changed = site.submit(image=image, input_files=[key])
        full = site.submit(image=image, input_files=[SAMPLE])
        for job_id in (changed, full):
            site.until(lambda job_id=job_id: site.job(job_id)["slurm_jobs"] != [])  # type: ignore[misc]
        other = SAMPLE.replace("-8", "-7")
        site.run("aws", "s3", "cp", "--only-show-errors", f"s3://{other}", f"s3://{key}")
        with _small_disk(site, full):
            site.run("scontrol", "update", "partitionname=regular", "state=up", user="root")
            job = site.finish(full)
    finally:
        site.run("scontrol", "update", "partitionname=regular", "state=up", user="root")
    assert job["state"] == "error"
    assert "the inputs have 20000000 bytes, the node has" in job["error"]
    assert "bytes free" in job["error"]
    assert site.objects(job["job_input"]["output_dir"]) == {}
    job = site.finish(changed)
    assert job["state"] == "error"
    assert "changed since submission" in job["error"]
    assert site.objects(job["job_input"]["output_dir"]) == {}


def test_what_a_requeued_job_had_uploaded_is_not_uploaded_again(
    site: DevCluster, proxied: Proxy
) -> None:
    key, part = f"results/requeued-{uuid.uuid4().hex}/in.bin", 64 * MIB
    size = 3 * part
    script = 'head -c "$2" /dev/urandom | aws s3 cp --only-show-errors - "s3://$1"'
    site.run("sh", "-c", script, "sh", key, str(size))
    proxied.plan(Fault("slow", down=False, after=MIB, rate=64 << 10))  # one of its three parts
    job_id = site.submit(
        image=site.image("sleep"), input_files=[key], params={"args": ["0"]}, runtime=600
    )
    output = f"{site.job(job_id)['job_input']['output_dir']}in.bin"

    def there() -> int:
        return len(_parts(site, output))

    site.until(lambda: there() == 2)
    (slurm,) = site.job(job_id)["slurm_jobs"]
    site.run("scontrol", "requeue", f"{slurm}_0", user="root")
    proxied.cut()
    begin = proxied.passed[False]
    site.release(job_id)
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    assert _same(site, job, "in.bin", key)
    sent = proxied.passed[False] - begin
    assert part < sent < part + 2 * MIB
    assert _uploads(site, job["job_input"]["output_dir"]) == []


def _parts(site: DevCluster, path: str) -> list[int]:
    """Numbers of the parts that the one upload under way at a path has."""
    bucket, _, key = path.partition("/")
    found = site.run("aws", "s3api", "list-multipart-uploads", "--bucket", bucket, "--prefix", key)
    uploads = json.loads(found.stdout or "{}").get("Uploads", [])
    if not uploads:
        return []
    which = ("--bucket", bucket, "--key", key, "--upload-id", uploads[0]["UploadId"])
    found = site.run("aws", "s3api", "list-parts", *which)
    return [row["PartNumber"] for row in json.loads(found.stdout or "{}").get("Parts", [])]


def test_no_upload_is_left_in_the_store_when_daemon_and_job_end_in_the_middle_of_one(
    site: DevCluster, proxied: Proxy
) -> None:
    key = f"results/parts-{uuid.uuid4().hex}/in.bin"
    script = 'head -c 80000000 /dev/urandom | aws s3 cp --only-show-errors - "s3://$1"'
    site.run("sh", "-c", script, "sh", key)
    proxied.plan(Fault("slow", down=False, after=MIB, times=_ALWAYS, rate=MIB))
    job_id = site.submit(image=site.image("checksum"), input_files=[key])
    folder = site.job(job_id)["job_input"]["output_dir"]
    begin = proxied.passed[False]
    site.until(lambda: proxied.passed[False] - begin > 4 * MIB)
    assert _uploads(site, folder) != []
    site.tool("kill", "gateway")
    site.tool("start", "gateway")
    site.run("cts", "cancel", job_id)
    assert site.finish(job_id)["state"] == "canceled"
    assert _uploads(site, folder) == []
