"""The image cache on the real site: pulled once by many tasks, made again when it was cut or its converter died, kept for who needs it."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.bench.cold import blobs_given
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
LOG = "/var/log/devcluster/registry.log"


def cache(site: DevCluster, *words: str) -> Any:
    """Run cts admin cache as an admin; returns its JSON."""
    done = site.run("cts", "admin", "cache", *words, "--json", user="ada", check=False)
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_many_tasks_on_a_cold_cache_pull_once_and_what_is_cut_is_made_again(
    site: DevCluster,
) -> None:
    repository = f"test/cold-{uuid.uuid4().hex[:8]}"
    image = f"{site.registry}/{repository}:1.0"
    words = ("--insecure", f"{site.registry}/test/argv:1.0", "--label", f"cold={repository}")
    shell = ("--entrypoint", "/bin/sh", "--tag", image)
    site.run("crane", "mutate", *words, *shell, user="root")
    site.run("cts", "admin", "image", "approve", image, user="ada")
    digest = json.loads(site.run("cts", "image", "show", image, "--json").stdout)["digest"]
    manifest = json.loads(site.run("crane", "manifest", "--insecure", image, user="root").stdout)
    wanted = [entry["digest"] for entry in (manifest["config"], *manifest["layers"])]
    folder, name = "/scratch/cts/images", digest.replace(":", "-")
    # A converter on a node that has vanished, an hour ago: its lease is nobody's any more.
    lease = f"{folder}/.{name}.sif.lease-1"
    plant = 'mkdir -p -m 700 "$1" && echo 0000/1 77 1234 > "$2" && touch -d "1 hour ago" "$2"'
    site.run("sh", "-c", plant, "sh", folder, lease, user="ctsjob")
    begin = int(site.run("stat", "-c", "%s", LOG, user="root").stdout)

    def given() -> Counter[str]:
        text = site.run("tail", "-c", f"+{begin + 1}", LOG, user="root").stdout
        return blobs_given(text.encode(), repository)

    many: dict[str, Any] = {
        "array": "0-39",
        "cpus": 1,
        "memory": "64MB",
        "allow_empty_output": True,
    }
    job = site.finish(site.submit(image=image, params={"args": ["-c", "true"]}, **many))
    assert job["state"] == "complete", job["error"]
    assert given() == Counter(wanted)
    (mine,) = [
        i for i in cache(site, "list", "--site", "dev")[0]["images"] if i["digest"] == digest
    ]
    assert (mine["names"], mine["jobs"]) == ([image], 0)
    assert [one["good"] for one in cache(site, "verify", "dev", image)] == [True]

    site.run("truncate", "-s", "-100", f"{folder}/{name}.sif", user="root")
    assert [one["good"] for one in cache(site, "verify", "dev", image)] == [False]
    again = site.submit(image=image, params={"args": ["-c", "sleep 4; echo x > /output_files/x"]})
    needed = "is needed at the site dev by 1 jobs"  # once it is there again
    site.until(lambda: needed in cache(site, "remove", "dev", digest))
    log = ("sh", "-c", f"cat /scratch/cts/jobs/{again}/slurm-0-*.log")
    aside = "is not what was converted; it is set aside as"
    site.until(lambda: aside in site.run(*log, user="ctsjob", check=False).stdout)
    cache(site, "prune", "dev", "--max", "100GB")
    assert site.finish(again)["state"] == "complete"
    assert given() == Counter(wanted) + Counter(wanted)
    assert [one["good"] for one in cache(site, "verify", "dev", image)] == [True]
    assert cache(site, "remove", "dev", image) == {"removed": digest, "cluster": "dev"}
    assert "is no image in the cache" in cache(site, "remove", "dev", image)
    left = site.run("ls", "-A", folder, user="ctsjob").stdout.split()
    assert [entry for entry in left if name in entry and ".bad-" not in entry] == []
