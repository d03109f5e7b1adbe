"""Sending events to Kafka, by librdkafka (confluent-kafka), which is an extra: pip install cts-gateway[kafka].

A message is JSON as the CDM Task Service writes it (job_id, state, time, trans_id) with fields of our own added; its key is
the job's id, so that the events of one job stay in order, whatever the partitions. The producer is idempotent: what it
tries again is there once. Only a daemon that dies between the broker's word and its own note sends an event twice, with
the same trans_id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.config import KafkaSection
from gateway.daemon.sending import Outcome
from gateway.errors import ConfigError
from gateway.wire import Event

if TYPE_CHECKING:
    from confluent_kafka import Producer

_SECONDS = 10.0  # for what was handed over to be taken
_QUIET = logging.getLogger("gateway.kafka")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class Kafka:
    """The road to a Kafka.

    Raises
    ------
    ConfigError
        When the client library is not installed, or the password's file cannot be read.
    """

    def __init__(self, section: KafkaSection) -> None:
        try:
            import confluent_kafka  # noqa: F401, PLC0415 - an extra
        except ImportError as exc:
            raise ConfigError(
                f"kafka.bootstrap_servers needs the extra 'kafka': pip install cts-gateway[kafka] ({exc})"
            ) from exc
        self._topic = section.topic
        self._options = _options(section)
        self._producer: Producer | None = None
        self._said = ""

    def send(self, events: Sequence[Event], go_on: Callable[[], bool]) -> Outcome:
        """See `Sender.send`."""
        from confluent_kafka import KafkaException  # noqa: PLC0415 - an extra

        arrived: list[bool] = [False] * len(events)
        wrong: list[str] = []
        try:
            producer = self._connected()
            for place, event in enumerate(events):
                producer.produce(
                    self._topic,
                    json.dumps(message_of(event)).encode(),
                    event.job_id,
                    on_delivery=_noted(arrived, place, wrong),
                )
            left = producer.flush(_SECONDS)
        except (KafkaException, BufferError) as exc:
            left = 0
            wrong.append(str(exc))
        done = arrived.index(False) if False in arrived else len(events)
        if done == len(events):
            return Outcome(done)
        # What it still holds must not come later, between what is sent anew.
        self.drop()
        said = (wrong or [self._said or "no broker answers"])[0]
        return Outcome(done, f"Kafka does not take events: {said}" if not left else f"Kafka does not take events in {_SECONDS:g} s: {said}")  # fmt: skip

    def close(self) -> None:
        """See `Sender.close`: the connection is kept, for the next events."""

    def drop(self) -> None:
        """Give the connection up, with what was not taken."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1)

    def _connected(self) -> Producer:
        from confluent_kafka import Producer  # noqa: PLC0415 - an extra

        if self._producer is None:
            self._said = ""
            self._producer = Producer({**self._options, "error_cb": self._note}, logger=_QUIET)
        return self._producer

    def _note(self, error: object) -> None:
        self._said = str(error)[:300]


def message_of(event: Event) -> dict[str, Any]:
    """One event as a message."""
    return {
        "job_id": event.job_id,
        "state": event.state,
        "time": event.time.isoformat(),
        "trans_id": event.id,
        **event.model_dump(mode="json", include={"phase", "container", "user", "name", "cluster", "detail"}),
    }  # fmt: skip


def _noted(arrived: list[bool], place: int, wrong: list[str]) -> Callable[[object, object], None]:
    def note(error: object, _message: object) -> None:
        if error is None:
            arrived[place] = True
        else:
            wrong.append(str(error)[:300])

    return note


def _options(section: KafkaSection) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(section.bootstrap_servers),
        "client.id": "cts-gateway",
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 60_000,  # longer than what is waited for
    }
    tls = section.tls or section.ca_file is not None
    if section.ca_file is not None:
        found["ssl.ca.location"] = str(section.ca_file)
    if section.username is not None and section.password_file is not None:
        try:
            password = section.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"kafka.password_file: cannot read {section.password_file}: {exc}") from exc  # fmt: skip
        found |= {
            "sasl.mechanism": section.sasl_mechanism,
            "sasl.username": section.username,
            "sasl.password": password,
            "security.protocol": "sasl_ssl" if tls else "sasl_plaintext",
        }
    elif tls:
        found["security.protocol"] = "ssl"
    return found
