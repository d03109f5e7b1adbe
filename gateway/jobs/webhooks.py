"""Webhooks that users register: added, listed, tested, removed. Sending is the daemon's."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlmodel import Session

from gateway import wire
from gateway.config import WebhooksSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs.audit import audit, audited
from gateway.jobs.caller import Caller
from gateway.jobs.hook_secrets import key_of, new_secret
from gateway.jobs.hook_urls import target_of
from gateway.jobs.states import phases_named
from gateway.store import events as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_TESTS = 8  # at one time; each may take as long as a receiver lets it


class Webhooks:
    """The webhooks of a gateway.

    `probe(subscriber)` sends a test event and returns what was wrong; `wake` is called when one goes on.
    """

    def __init__(
        self,
        database: Database,
        section: WebhooksSection,
        probe: Callable[[Subscriber], str | None],
        wake: Callable[[], None],
    ) -> None:
        self._db = database
        self._section = section
        self._probe = probe
        self._wake = wake
        self._lock = threading.Lock()
        self._testing: set[str] = set()  # users

    def add(
        self,
        caller: Caller,
        url: str,
        *,
        states: Sequence[str],
        containers: bool,
        secret: str | None,
    ) -> wire.NewWebhook:
        """Register one; events from now on go there.

        Raises
        ------
        GatewayError
            ILLEGAL_PARAMETER for a URL, a state or a secret that will not do; RESOURCE_UNAVAILABLE past `per_user`.
        """
        with audited(self._db, caller, "webhook.add", url):
            target_of(url, self._section.allow_hosts, allow_http=self._section.allow_http)
            for word in states:
                phases_named(word)
            if secret is not None:
                key_of(secret)
            row = self._added(caller, url, states, containers, secret or new_secret())
        return wire.NewWebhook(**view(row).model_dump(), secret=row.secret or "")

    def _added(
        self, caller: Caller, url: str, states: Sequence[str], containers: bool, secret: str
    ) -> Subscriber:
        with self._db.write() as session:
            if len(store.subscribers(session, user=caller.user)) >= self._section.per_user:
                raise GatewayError(
                    AppCode.RESOURCE_UNAVAILABLE,
                    f"{caller.user} has {self._section.per_user} webhooks, and no more are allowed; remove one: "
                    "cts webhook delete",
                )
            row = Subscriber(
                kind="webhook",
                user=caller.user,
                url=url,
                secret=secret,
                states=list(dict.fromkeys(states)),
                containers=containers,
                created=now(),
                cursor=store.newest(session),
                resent=store.newest_resend(session),
            )
            session.add(row)
            session.flush()
            return row

    def mine(self, caller: Caller) -> list[wire.Webhook]:
        """List the caller's."""
        with self._db.read() as session:
            return [view(row) for row in store.subscribers(session, user=caller.user)]

    def everything(self) -> list[wire.Webhook]:
        """List all, those of the configuration and Kafka among them."""
        with self._db.read() as session:
            return [view(row) for row in store.subscribers(session)]

    def delete(self, caller: Caller, webhook_id: str, *, anybodys: bool = False) -> None:
        """Remove one.

        Raises
        ------
        GatewayError
            NOT_FOUND; UNSUPPORTED for one of the configuration, which would come back.
        """
        with self._db.write() as session:
            row = _find(session, caller, webhook_id, anybodys=anybodys)
            if row.name is not None:
                raise GatewayError(
                    AppCode.UNSUPPORTED,
                    f"{row.name} stands in the gateway's configuration; take it out there.",
                )
            session.delete(row)
            audit(session, caller, "webhook.delete", webhook_id, "ok")

    def test(self, caller: Caller, webhook_id: str) -> wire.WebhookTest:
        """Send a test event now; when that works, one that was disabled goes on with what it has not got.

        Raises
        ------
        GatewayError
            NOT_FOUND; RESOURCE_UNAVAILABLE while another test of the caller's is under way.
        """
        with self._db.read() as session:
            row = _find(session, caller, webhook_id, anybodys=caller.admin)
        if row.kind != "webhook":
            raise GatewayError(AppCode.UNSUPPORTED, f"{row.name} is no webhook.")
        with self._one_test(caller.user):
            error = self._probe(row)
        if error is None:
            with self._db.write() as session:
                fresh = session.get(Subscriber, row.id)
                if fresh is not None:
                    fresh.disabled = fresh.failing_since = fresh.last_error = None
                    fresh.failures = 0
                    session.add(fresh)
            self._wake()
        return wire.WebhookTest(delivered=error is None, error=error)

    @contextmanager
    def _one_test(self, user: str) -> Iterator[None]:
        with self._lock:
            if user in self._testing or len(self._testing) >= _TESTS:
                raise GatewayError(
                    AppCode.RESOURCE_UNAVAILABLE,
                    "Another webhook is being tested; try again when that has ended.",
                )
            self._testing.add(user)
        try:
            yield
        finally:
            with self._lock:
                self._testing.discard(user)


def view(row: Subscriber) -> wire.Webhook:
    """What is told of one; never its secret."""
    return wire.Webhook(
        id=str(row.id),
        kind="kafka" if row.kind == "kafka" else "webhook",
        name=row.name,
        user=row.user,
        url=row.url,
        states=row.states,
        containers=row.containers,
        created=row.created,
        state="disabled" if row.disabled else "failing" if row.failing_since else "active",
        last_event=str(row.cursor),
        last_success=row.last_success,
        failing_since=row.failing_since,
        last_error=row.last_error,
        disabled=row.disabled,
    )


def _find(session: Session, caller: Caller, webhook_id: str, *, anybodys: bool) -> Subscriber:
    row = session.get(Subscriber, int(webhook_id)) if _ID.fullmatch(webhook_id) else None
    if row is None or (row.user != caller.user and not anybodys):
        raise GatewayError(
            AppCode.NOT_FOUND,
            f"There is no webhook {webhook_id[:100]!r} of yours; list yours with: cts webhook list",
        )
    return row
