"""The daemon dies while receivers of events are down and jobs go on: every transition arrives, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.daemon.receiver import receiving
from tests.daemon.test_kafka import Broker, broker

__all__ = ["broker"]
CONFIG = "/etc/cts/gateway.toml"


@pytest.fixture
def with_kafka(site: DevCluster, broker: Broker) -> Iterator[Broker]:
    """The daemon with a broker in its configuration."""
    site.run("cp", "-p", CONFIG, "/run/gateway.toml.kept", user="root")
    section = f'\n[kafka]\nbootstrap_servers = ["{broker.address}"]\n'
    site.run("sh", "-c", f"cat >> {CONFIG}", user="root", text=section)
    site.tool("restart", "gateway")
    yield broker
    site.run("cp", "-p", "/run/gateway.toml.kept", CONFIG, user="root")
    site.tool("restart", "gateway")


def test_events_of_a_daemon_that_was_killed_while_its_receivers_were_down_all_arrive_in_order(
    site: DevCluster, with_kafka: Broker
) -> None:
    image = site.image("sleep")
    with receiving() as receiver:
        made = json.loads(site.run("cts", "webhook", "add", receiver.url, "--json").stdout)
        before = site.submit(image=image, params={"args": ["0"]})
        site.finish(before)
        site.until(lambda: bool(receiver.requests))
        receiver.status = 503
        with_kafka.stop()
        jobs = [site.submit(image=image, params={"args": ["8"]}) for _ in range(2)]
        site.until(lambda: site.job(jobs[0])["phase"] == "run")
        site.tool("kill", "gateway")
        site.run("sleep", "2", user="root")  # Slurm goes on
        site.tool("start", "gateway")
        ended = [site.finish(job_id) for job_id in jobs]
        site.tool("kill", "gateway")
        receiver.status = 200
        with_kafka.start()
        site.tool("start", "gateway")

        wanted = {job["id"]: [row["phase"] for row in job["transition_times"]] for job in ended}

        def got(job_id: str) -> list[str]:
            """Phases in the order of their first coming: one may come twice, with the same id."""
            rows: dict[str, str] = {}
            for request in receiver.requests:
                data: dict[str, Any] = request.body["data"]
                if data.get("job_id") == job_id:
                    rows.setdefault(request.headers["webhook-id"], data["phase"])
            return list(rows.values())

        for job_id, phases in wanted.items():
            site.until(lambda job_id=job_id, phases=phases: got(job_id) == phases)  # type: ignore[misc]
        ids = list(dict.fromkeys(receiver.ids))
        assert ids == sorted(ids, key=int)
        count = sum(len(phases) for phases in wanted.values())
        messages = with_kafka.messages(count, wanted.__contains__)
        for job_id, phases in wanted.items():
            rows = {body["trans_id"]: body["phase"] for key, body in messages if key == job_id}
            assert list(rows.values()) == phases
        site.run("cts", "webhook", "delete", made["id"])
