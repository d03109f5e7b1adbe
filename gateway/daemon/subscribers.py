"""The subscribers of a daemon: those of the configuration come into the table, and each gets its road."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from sqlmodel import Session

from gateway.config import Config, Receiver
from gateway.daemon.kafka import Kafka
from gateway.daemon.sending import Sender
from gateway.daemon.webhook import Hook
from gateway.errors import ConfigError, GatewayError
from gateway.jobs.hook_secrets import key_of
from gateway.jobs.hook_urls import Target, target_of
from gateway.store import events as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Subscriber

KAFKA = "kafka"


class Roads:
    """Makes what sends to a subscriber. Secrets of the configuration's own are in here and not in the database.

    Raises
    ------
    ConfigError
        When a secret or a certificate cannot be read, a URL is none, or Kafka's client is missing.
    """

    def __init__(self, config: Config, kafka: Callable[[], Kafka] | None = None) -> None:
        self._section = config.webhooks
        self._context = _context(config)
        self._keys = {receiver.name: _secret(receiver) for receiver in config.receivers}
        self._targets = {receiver.name: _target(config, receiver) for receiver in config.receivers}
        self._kafka: Kafka | None = None
        if config.kafka.bootstrap_servers:
            self._kafka = kafka() if kafka is not None else Kafka(config.kafka)

    def of(self, row: Subscriber) -> Sender:
        """Return the road to a subscriber.

        Raises
        ------
        GatewayError
            When its URL is not allowed any more.
        """
        if row.kind == KAFKA:
            if self._kafka is None:
                raise ConfigError("kafka is not configured")
            return self._kafka
        return self._hook(row)

    def probe(self, row: Subscriber) -> str | None:
        """Send a test event to a webhook; return what went wrong."""
        try:
            hook = self._hook(row)
        except GatewayError as exc:
            return exc.message
        try:
            return hook.probe()
        finally:
            hook.close()

    def _hook(self, row: Subscriber) -> Hook:
        if row.name is not None:
            target, key = self._targets[row.name], self._keys[row.name]
        else:
            section = self._section
            target = target_of(row.url or "", section.allow_hosts, allow_http=section.allow_http)
            key = key_of(row.secret or "")
        return Hook(target, key, self._section.timeout_seconds, self._context)

    def close(self) -> None:
        """Give the connections back."""
        if self._kafka is not None:
            self._kafka.drop()


def synchronise(database: Database, config: Config) -> None:
    """Let the table have the subscribers that the configuration has: new ones begin now, those that are gone go."""
    with database.write() as session:
        there = {
            (row.kind, row.name): row for row in store.subscribers(session) if row.name is not None
        }
        wanted = [("webhook", receiver.name) for receiver in config.receivers]
        if config.kafka.bootstrap_servers:
            wanted.append((KAFKA, KAFKA))
        for key, row in there.items():
            if key not in wanted:
                session.delete(row)
        for receiver in config.receivers:
            row = there.get(("webhook", receiver.name)) or _new(session, "webhook", receiver.name)
            row.url, row.states, row.containers = receiver.url, list(receiver.states), receiver.containers  # fmt: skip
            _again(row)
            session.add(row)
        if config.kafka.bootstrap_servers:
            row = there.get((KAFKA, KAFKA)) or _new(session, KAFKA, KAFKA)
            row.url, row.containers = config.kafka.topic, config.kafka.containers
            _again(row)
            session.add(row)


def _new(session: Session, kind: str, name: str) -> Subscriber:
    return Subscriber(
        kind=kind,
        name=name,
        states=[],
        created=now(),
        cursor=store.newest(session),
        resent=store.newest_resend(session),
    )


def _again(row: Subscriber) -> None:
    """One that was disabled is tried again when the daemon starts."""
    if row.disabled is not None:
        row.disabled = row.failing_since = None
        row.failures = 0


def _context(config: Config) -> ssl.SSLContext:
    path = config.webhooks.ca_file
    try:
        context = ssl.create_default_context(cafile=str(path) if path is not None else None)
    except OSError as exc:
        raise ConfigError(f"webhooks.ca_file: {path} cannot be used: {exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _secret(receiver: Receiver) -> bytes:
    where = f"receivers: the secret_file {receiver.secret_file} of {receiver.name}"
    try:
        return key_of(receiver.secret_file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{where} cannot be read: {exc}") from exc
    except GatewayError as exc:
        raise ConfigError(f"{where}: {exc.message}") from exc


def _target(config: Config, receiver: Receiver) -> Target:
    """Read the URL of a receiver of the configuration: its host needs no leave but that."""
    try:
        return target_of(receiver.url, ["*"], allow_http=config.webhooks.allow_http)
    except GatewayError as exc:
        raise ConfigError(f"receivers: {receiver.name}: {exc.message}") from exc
