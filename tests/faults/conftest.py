"""Faults are injected into the parts of the dev cluster; after each test all of them run again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DevCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need the cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(autouse=True)
def all_back(site: DevCluster) -> Iterator[None]:
    """Continue what was stopped and start what was killed, whatever became of the test."""
    yield
    site.run("pkill", "-CONT", "-f", "slurmctld|slurmdbd|radosgw|ctsd", user="root", check=False)
    # The nodes last: a slurmctld that was killed may have one drained again, which then does not come up.
    for nodes in (False, True):
        states = json.loads(site.tool("status", "--json", check=False).stdout)
        for part, state in states.items():
            if state != "up" and part.startswith("slurmd-") is nodes:
                site.tool("start", part)
        resume = ("scontrol", "update", "nodename=n[1-4]", "state=resume")
        site.run(*resume, user="root", check=False)
    deadline = time.monotonic() + 300
    while "idle" not in site.run("sinfo", "-h", "-o", "%t", user="root").stdout:
        assert time.monotonic() < deadline, "no node of the site came back"
        time.sleep(0.2)
