"""The registry fails while tasks wait for one of them to fetch the image: that one's failure is theirs, and who comes later is served."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import DevCluster

TASKS = 12
_CACHE = "/scratch/cts/images"
_BLOBS = "/var/lib/devregistry/docker/registry/v2/blobs/sha256"


def _goes_down(site: DevCluster, _: str) -> Callable[[], object]:
    site.tool("kill", "registry")
    return lambda: site.tool("start", "registry")


def _loses_a_blob(site: DevCluster, blob: str) -> Callable[[], object]:
    folder = f"{_BLOBS}/{blob[:2]}/{blob}"
    site.run("mv", folder, f"{folder}.kept", user="root")
    site.run("pkill", "-CONT", "-x", "docker-registry", user="root")
    return lambda: site.run("mv", f"{folder}.kept", folder, user="root")


@pytest.mark.parametrize(
    ("fault", "said"), [(_goes_down, "connection refused"), (_loses_a_blob, "blob unknown")]
)
def test_of_many_tasks_one_asks_a_registry_that_fails_and_a_later_job_has_the_image(
    site: DevCluster, fault: Callable[[DevCluster, str], Callable[[], object]], said: str
) -> None:
    repository = f"test/gone-{uuid.uuid4().hex[:8]}"
    image = f"{site.registry}/{repository}:1.0"
    words = ("--insecure", f"{site.registry}/test/argv:1.0", "--label", f"gone={repository}")
    site.run("crane", "mutate", *words, "--entrypoint", "/bin/true", "--tag", image, user="root")
    site.run("cts", "admin", "image", "approve", image, user="ada")
    shown = json.loads(site.run("cts", "image", "show", image, "--json").stdout)
    manifest = json.loads(site.run("crane", "manifest", "--insecure", image, user="root").stdout)
    name = shown["digest"].replace(":", "-")
    fields: dict[str, Any] = {
        "image": image,
        "cpus": 1,
        "memory": "64MB",
        "allow_empty_output": True,
    }

    site.run("pkill", "-STOP", "-x", "docker-registry", user="root")
    mend: Callable[[], object] = lambda: None  # noqa: E731
    try:
        job_id = site.submit(**fields, array=f"0-{TASKS - 1}")
        waiting = ("sh", "-c", f"ls -A {_CACHE} | grep -c {name}.sif.lease-of-")
        site.until(
            lambda: site.run(*waiting, user="root", check=False).stdout.strip() == str(TASKS - 1)
        )
        mend = fault(site, manifest["config"]["digest"].partition(":")[2])
        job = site.finish(job_id)
    finally:
        mend()
        site.run("pkill", "-CONT", "-x", "docker-registry", user="root")
    assert job["state"] == "error"
    errors = {each["error"] for each in site.containers(job_id)}
    assert len(errors) == 1, errors
    assert said in errors.pop()
    logs = site.run("sh", "-c", f"cat /scratch/cts/jobs/{job_id}/slurm-0-*.log", user="root").stdout
    assert logs.count("image: another task that wanted it has failed to have it") == TASKS - 1

    later = site.finish(site.submit(**fields))
    assert later["state"] == "complete", later["error"]
    left = site.run("ls", "-A", _CACHE, user="root").stdout.split()
    assert [entry for entry in left if name in entry] == [f"{name}.sif"]
