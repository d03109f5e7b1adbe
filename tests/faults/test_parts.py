"""The parts of the dev cluster are stopped and started one by one; others use them meanwhile, so this is none of its other tests."""

from __future__ import annotations

import json

from tests.conftest import DevCluster


def test_a_part_is_stopped_started_and_restarted_by_its_name(site: DevCluster) -> None:
    site.tool("stop", "sshd")
    stopped = site.tool("status", "--json", check=False)
    assert stopped.returncode == 1
    assert json.loads(stopped.stdout)["sshd"] == "down"
    site.tool("start", "sshd")
    site.tool("restart", "sshd")
    again = site.tool("status", "--json", check=False)
    assert json.loads(again.stdout)["sshd"] == "up"
    assert "Server listening on 127.0.0.1" in site.tool("logs", "sshd").stdout
