"""Logs on the real site: while a job runs, after its end, in S3, and one that grows without bound."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from typing import Any

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(2, 5)]
LIMIT = 100_000_000  # max_log_size of the dev cluster's site


@pytest.fixture(scope="module")
def shell(site: DevCluster) -> str:
    """An approved image whose program is a shell."""
    name = f"{site.registry}/test/shell-{uuid.uuid4().hex[:8]}:1.0"
    source = f"{site.registry}/test/argv:1.0"
    site.run("crane", "mutate", "--insecure", source, "--entrypoint", "/bin/sh", "--tag", name, user="root")  # fmt: skip
    site.run("cts", "admin", "image", "approve", name, user="ada")
    return name


def _script(text: str) -> dict[str, Any]:
    return {"args": ["-c", text]}


def _get(site: DevCluster, path: str) -> tuple[str, str]:
    """Status and headers, and the body, of a GET over the socket."""
    text = site.run(
        *("curl", "-s", "-i", "--unix-socket", "/run/cts/cts.sock", f"http://cts{path}")
    ).stdout
    head, _, body = text.partition("\n\n")
    return head, body


def _stored(site: DevCluster, job_id: str) -> str:
    """Wait until the logs of a job are in S3 and its directory is gone from the site; return where they are."""
    site.until(lambda: site.job(job_id)["logpath"] is not None)
    gone = ("test", "!", "-e", f"/scratch/cts/jobs/{job_id}")
    site.until(lambda: site.run(*gone, user="root", check=False).returncode == 0)
    logpath: str = site.job(job_id)["logpath"]
    return logpath


def test_logs_are_followed_while_a_job_runs_and_read_with_seek_and_length_after_it_was_cleaned(
    site: DevCluster, shell: str
) -> None:
    job_id = site.submit(
        image=shell,
        input_files=READS,
        num_containers=3,
        runtime=60,
        params=_script(
            "echo begin $0; echo trouble >&2; n=0; while [ $n -lt 20 ]; do echo line $n; n=$((n+1)); sleep 0.1; done;"
            "echo done > /output_files/$(ls /input_files)"
        ),
    )
    # Pending first: -f waits for a log that is not there yet.
    followed = site.run("cts", "logs", "-f", f"{job_id}_2").stdout
    assert followed.splitlines()[1:] == [f"line {n}" for n in range(20)]
    head, _ = _get(site, f"/jobs/{job_id}/log/2/stdout?seek=0&length=5")
    assert "200 OK" in head
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    logpath = _stored(site, job_id)
    assert logpath == f"results/cts-logs/{job_id}"
    whole = followed
    for number in range(3):
        assert site.run("cts", "logs", "-c", str(number), job_id).stdout == whole
        assert site.run("cts", "logs", f"{job_id}_{number}", "--stderr").stdout == "trouble\n"
        copy = site.run("aws", "s3", "cp", f"s3://{logpath}/{number}/stdout", "-").stdout
        assert copy == whole
    head, body = _get(site, f"/jobs/{job_id}/log/1/stdout?seek=6&length=10")
    assert body == whole[6:16]
    assert "content-length: 10" in head.lower()
    assert f"x-log-size: {len(whole)}" in head.lower()
    assert "x-log-final: true" in head.lower()
    assert "Logs      results/cts-logs/" in site.run("cts", "show", job_id).stdout
    head, body = _get(site, f"/jobs/{job_id}/log/3/stdout")
    assert json.loads(body)["error"]["appcode"] == 40050


def test_the_logs_of_failed_timed_out_and_canceled_containers_are_in_s3_too(
    site: DevCluster, shell: str
) -> None:
    failed = site.submit(image=shell, params=_script("echo it fails; exit 3"))
    late = site.submit(image=shell, runtime=2, params=_script("echo it is late; exec sleep 60"))
    canceled = site.submit(image=shell, params=_script("echo it is canceled; exec sleep 60"))
    site.until(lambda: _log(site, canceled) == "it is canceled\n")
    site.run("cts", "cancel", canceled)
    ends = {failed: ("error", "fails"), late: ("error", "late"), canceled: ("canceled", "canceled")}
    for job_id, (state, word) in ends.items():
        assert site.finish(job_id)["state"] == state
        site.until(lambda number=job_id: site.job(number)["logpath"] is not None)  # type: ignore[misc]
        path = f"s3://results/cts-logs/{job_id}/0/stdout"
        assert word in site.run("aws", "s3", "cp", path, "-").stdout


def _log(site: DevCluster, job_id: str) -> str:
    done: subprocess.CompletedProcess[str] = site.run("cts", "logs", job_id, check=False)
    return done.stdout


def test_a_log_that_grows_without_bound_is_cut_with_a_notice_and_the_job_ends_right(
    site: DevCluster, shell: str
) -> None:
    job_id = site.submit(
        image=shell,
        runtime=120,
        params=_script("yes | head -c 500000000; echo x > /output_files/x"),
    )
    job = site.finish(job_id)
    assert job["state"] == "complete", job["error"]
    (container,) = site.containers(job_id)
    assert container["log_truncated"] is True
    assert "was cut" in site.run("cts", "show", f"{job_id}_0").stdout
    assert "its log was cut" in site.run("cts", "show", job_id).stdout
    _stored(site, job_id)
    head, body = _get(site, f"/jobs/{job_id}/log/0/stdout?seek={LIMIT}")
    assert re.fullmatch(r"\n\[cts: over 100000000 bytes; the rest was not kept\]\n", body), body
    size = int(re.findall(r"(?i)x-log-size: (\d+)", head)[0])
    assert LIMIT < size < LIMIT + 200
