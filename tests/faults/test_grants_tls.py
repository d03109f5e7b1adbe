"""Grants over TLS on the real site: the nodes of `packed` ask the daemon itself, by the token of their job alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.remote import Remote, make
from tests.sites import switched

pytestmark = pytest.mark.cluster
READS = [f"sample-data/reads/sample-{n}.txt" for n in range(2, 5)]


@pytest.fixture(autouse=True, scope="module")
def _on(site: DevCluster) -> Iterator[None]:
    """The site `packed`, on for the time of these tests."""
    with switched(site, "packed"):
        yield


def _asked(site: DevCluster, job_id: str) -> list[str]:
    """Lines of the daemon's log about requests of a job's nodes."""
    log = site.tool("logs", "gateway").stdout
    return [line for line in log.splitlines() if f"/node/{job_id}/requests" in line]


def test_nodes_ask_over_tls_and_a_jobs_token_opens_that_and_nothing_else(
    site: DevCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    remote = Remote.of(site, tmp_path_factory.mktemp("tls"))
    fields: dict[str, Any] = {
        "cluster": "packed",
        "image": site.image("sleep"),
        "input_files": READS,
    }
    mine = site.submit(**fields, num_containers=3, params={"args": ["5"]})
    other = site.submit(**fields, params={"args": ["1"]})
    site.until(lambda: site.job(mine)["phase"] == "run")
    folder = f"/scratch/cts-packed/jobs/{mine}"
    found = site.run("cat", f"{folder}/job.json", user="root").stdout
    assert site.run("stat", "-c", "%a", f"{folder}/job.json", user="root").stdout == "600\n"
    token = json.loads(found)["token"]
    asking = {
        "version": 1, "kind": "stage-in", "job_id": int(mine), "container": 1, "token": token,
        "slurm_job_id": "1", "seq": 1, "inputs": [],
    }  # fmt: skip
    path = f"/node/{mine}/requests"
    with remote.http(token) as http:
        assert http.post(path, json=asking).json()["error"] is None
        # An input of another container, a job that is another's, other routes, too much.
        inputs = json.loads(site.run("cat", f"{folder}/0/container.json", user="root").stdout)[
            "inputs"
        ]
        answer = http.post(path, json=asking | {"inputs": [inputs[0]["id"]]}).json()
        assert answer["error"] == f"input {inputs[0]['id']} is none of this container's"
        assert answer["inputs"] == []
        wrong = asking | {"job_id": int(other)}
        assert http.post(path, json=wrong).status_code == 400
        assert http.post(f"/node/{other}/requests", json=wrong).status_code == 401
        assert http.get(f"/jobs/{mine}").status_code == 401
        assert http.get("/whoami").status_code == 401
        assert http.post(path, content=bytes((8 << 20) + 1)).status_code == 413
    _, users = make(site, "alice")
    with remote.http(users) as http:
        assert http.post(path, json=asking).status_code == 401
    local = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "{}")
    socket = ("--unix-socket", "/run/cts/cts.sock", f"http://cts{path}")
    assert site.run(*local, "-H", f"Authorization: Bearer {token}", *socket).stdout == "403"
    job = site.finish(mine)
    assert job["state"] == "complete", job["error"]
    assert site.finish(other)["state"] == "complete"
    # Of each container one request for its inputs and one for its outputs, besides those of this test.
    good = [line for line in _asked(site, mine) if "status=200" in line]
    assert len(good) == 2 * 3 + 2
    assert token not in site.tool("logs", "gateway").stdout
    with remote.http(token) as http:
        assert http.post(path, json=asking).json()["error"] == "the job has ended"
