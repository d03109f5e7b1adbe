"""Sending events to a webhook: POST of JSON, signed, over TLS, no redirect followed, bounded in time and size.

The form is that of https://www.standardwebhooks.com: its receivers check the headers webhook-id, webhook-timestamp and
webhook-signature.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.daemon.sending import Outcome
from gateway.jobs.hook_secrets import signature
from gateway.jobs.hook_urls import Target
from gateway.wire import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER = (
    64 << 10
)  # bytes that are read of an answer; the connection of a longer one is not used again
_GONE = 410


class Hook:
    """One webhook. Not for several threads at one time.

    Parameters
    ----------
    target
        Where it is; its host is allowed.
    key
        What is signed with.
    seconds
        What one request may take, answer included.
    context
        How a server's certificate is checked.
    """

    def __init__(
        self,
        target: Target,
        key: bytes,
        seconds: float,
        context: ssl.SSLContext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._key = key
        self._seconds = seconds
        self._context = context
        self._clock = clock
        self._connection: HTTPConnection | None = None

    def close(self) -> None:
        """See `Sender.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send(self, events: Sequence[Event], go_on: Callable[[], bool]) -> Outcome:
        """See `Sender.send`."""
        for count, event in enumerate(events):
            if count and not go_on():
                return Outcome(count)
            kind = "container" if event.container is not None else "job"
            body = {
                "type": f"{kind}.state",
                "timestamp": event.time.isoformat(),
                "data": event.model_dump(mode="json"),
            }
            status, error = self._post(event.id, body)
            if error is not None:
                return Outcome(count, error, status == _GONE)
        return Outcome(len(events))

    def probe(self) -> str | None:
        """Send a test event; return what went wrong."""
        body = {"type": "test", "timestamp": datetime.now(UTC).isoformat(), "data": {}}
        return self._post(f"test-{secrets.token_hex(8)}", body)[1]

    def _post(self, identifier: str, document: dict[str, Any]) -> tuple[int | None, str | None]:
        """Send one; return the status of the answer, and what is wrong."""
        body = json.dumps(document).encode()
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cts-gateway/{__version__}",
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, identifier, timestamp, body),
        }
        kept = self._connection is not None
        try:
            try:
                status = self._ask(body, headers)
            except (ConnectionError, HTTPException):
                if not kept:
                    raise
                self.close()  # a kept connection that the receiver has closed meanwhile
                status = self._ask(body, headers)
        except TimeoutError:
            self.close()
            return None, f"it gave no answer in {self._seconds:g} s"
        except ssl.SSLError as exc:
            self.close()
            return None, f"its certificate or its TLS is not good: {exc.reason or exc}"
        except (OSError, HTTPException, ValueError) as exc:
            self.close()
            return None, f"it cannot be reached: {_words(exc)}"
        if 200 <= status < 300:
            return status, None
        note = "; redirects are not followed" if 300 <= status < 400 else ""
        return status, f"it answered {status} {responses.get(status, '')}".rstrip() + note

    def _ask(self, body: bytes, headers: dict[str, str]) -> int:
        connection = self._connected()
        with _bounded(connection, self._seconds):
            connection.request("POST", self._target.path, body, headers)
            answer = connection.getresponse()
            answer.read(_ANSWER)
            if not answer.isclosed():
                self.close()
            return answer.status

    def _connected(self) -> HTTPConnection:
        if self._connection is None:
            host, port, most = self._target.host, self._target.port, self._seconds
            if self._target.tls:
                self._connection = HTTPSConnection(host, port, timeout=most, context=self._context)
            else:
                self._connection = HTTPConnection(host, port, timeout=most)
        return self._connection


@contextmanager
def _bounded(connection: HTTPConnection, seconds: float) -> Iterator[None]:
    """End a connection that takes longer as a whole: a time-out of the socket begins anew with each byte.

    Raises
    ------
    TimeoutError
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        sock = connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException, ValueError) as exc:
        if late.is_set():
            raise TimeoutError from exc
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def _words(exc: Exception) -> str:
    said = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return " ".join(str(said).split())[:200]
