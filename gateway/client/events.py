"""Calls about events: the stream, and webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls
from gateway.client.patience import Patience, jitter
from gateway.connection import CtsError, GatewayUnreachableError

_QUIET = 60.0  # seconds; the gateway gives a sign of life every 15
_PAUSE = 1.0


class EventCalls(Calls):
    """What happens to jobs, as it happens."""

    def events(
        self,
        *,
        job: Sequence[str] | None = None,
        state: Sequence[str] | None = None,
        everyone: bool = False,
        containers: bool = False,
        since: str | None = None,
        follow: bool = True,
    ) -> Iterator[wire.Event]:
        """Yield events of the caller's jobs, or of those named, each once and in order, for ever.

        Goes on by itself where a connection broke or the daemon was restarted, with the event after the last.

        Parameters
        ----------
        state
            Only these states of the wire, or phases.
        everyone
            For admins: of everyone's jobs.
        containers
            Also those of containers.
        since
            The id of the last event that the caller had, "0" for all there ever were; without it begin with the next.
        follow
            Whether to wait for what comes; without it end with what there is.

        Raises
        ------
        CtsError
            For what the gateway refuses.
        GatewayUnreachableError
            When nobody has answered for a minute.
        """
        params: list[tuple[str, str]] = [("job", name) for name in job or ()]
        params += [("state", name) for name in state or ()]
        wanted = {"everyone": everyone, "containers": containers}
        params += [(name, "true") for name, is_wanted in wanted.items() if is_wanted]
        if not follow:
            params.append(("follow", "false"))
        last, patience = since, Patience()
        while True:
            headers = {"Accept": "text/event-stream"}
            if last is not None:
                headers["Last-Event-ID"] = last
            try:
                with self._http.stream("/events", params, headers, _QUIET) as lines:
                    for identifier, data in _blocks(lines):
                        patience.answered()
                        last = identifier or last
                        if data:
                            yield self._http.parse(wire.Event, data, "/events")
            except (CtsError, GatewayUnreachableError) as exc:
                patience.bear(exc)
            else:
                if not follow:
                    return
            time.sleep(_PAUSE * jitter())

    def add_webhook(
        self,
        url: str,
        *,
        states: Sequence[str] = (),
        containers: bool = False,
        secret: str | None = None,
    ) -> wire.NewWebhook:
        """Have the caller's events sent to a URL from now on; its `secret` is told this once."""
        body = {"url": url, "states": list(states), "containers": containers, "secret": secret}
        return self._http.read(wire.NewWebhook, self._http.call("POST", "/webhooks", json=body))

    def webhooks(self, *, everyone: bool = False) -> list[wire.Webhook]:
        """Return the caller's webhooks, and how they are; `everyone` is for admins."""
        path = "/admin/webhooks" if everyone else "/webhooks"
        return self._http.get(wire.Webhooks, path).webhooks

    def delete_webhook(self, webhook_id: str, *, anybodys: bool = False) -> None:
        """Remove a webhook; `anybodys` is for admins."""
        path = "/admin/webhooks" if anybodys else "/webhooks"
        self._http.call("DELETE", f"{path}/{paths.segment(webhook_id)}")

    def test_webhook(self, webhook_id: str) -> wire.WebhookTest:
        """Send a test event now; one that was disabled goes on when that works."""
        response = self._http.call("POST", f"/webhooks/{paths.segment(webhook_id)}/test")
        return self._http.read(wire.WebhookTest, response)


def _blocks(lines: Iterator[str]) -> Iterator[tuple[str | None, str]]:
    """Read server-sent events: the id and the data of each block."""
    identifier: str | None = None
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            yield identifier, "\n".join(data)
            identifier, data = None, []
        elif name == "id":
            identifier = value
        elif name == "data":
            data.append(value)
