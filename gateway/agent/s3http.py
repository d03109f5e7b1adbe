"""HTTP to presigned URLs: kept-alive connections a thread, errors sorted by what to do about them.

No text of an error holds a URL: its query is a secret.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import select
import socket
import ssl
import sys
import threading
import time
from typing import (
    Callable,
    Dict,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)
from urllib.parse import urlsplit

from .files import Clock, Trust
from .mailbox import Stop

T = TypeVar("T")
CHUNK = 256 * 1024
_QUICKACK: Optional[int] = getattr(socket, "TCP_QUICKACK", None)  # Linux
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_AGAIN = {"RequestTimeout", "BadDigest", "SlowDown", "InternalError", "OperationAborted"}
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired"}


class Span(NamedTuple):
    """`length` bytes of an open file from `at` on, to be sent as they are there."""

    handle: int
    at: int
    length: int


Chunk = Union[bytes, memoryview, Span]
Body = Callable[[], Iterator[Chunk]]


class Transient(Exception):
    """Worth another attempt."""


class Denied(Exception):
    """The URL is not, or no longer, good: a new grant may be."""


class Changed(Exception):
    """The object is another one than was asked for (412)."""


class Refused(Exception):
    """The storage said no for good; the text is for the user."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Policy(NamedTuple):
    """Bounds of patience, in seconds; below `floor_bytes` in `window` a transfer has stalled.

    A store that refuses connections is borne for some seven minutes, less than the time that a site
    gives for staging by default; Slurm's time limit ends the patience in any case.
    """

    attempts: int = 40
    first: float = 0.5
    longest: float = 15.0
    timeout: float = 30.0
    window: float = 60.0
    floor_bytes: int = 64 * 1024


class Pace:
    """Raises Transient when a transfer crawls."""

    def __init__(self, policy: Policy, clock: Clock = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._begin = clock()
        self._count = 0

    def add(self, count: int) -> None:
        """Count bytes that went over the line."""
        self._count += count
        now = self._clock()
        if now - self._begin >= self._policy.window:
            if self._count < self._policy.floor_bytes:
                raise Transient(f"stalled: {self._count} bytes in {now - self._begin:.0f} s")
            self._begin, self._count = now, 0


def persist(
    action: Callable[[], T],
    stop: Stop,
    policy: Policy,
    what: str,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Do an action until it works, with back-off and jitter between attempts.

    Raises
    ------
    Transient
        That of the last attempt; other exceptions pass at once.
    """
    for attempt in range(policy.attempts):
        try:
            return action()
        except Transient as exc:
            if attempt + 1 == policy.attempts:
                raise
            wait = min(policy.longest, policy.first * 2**attempt) * (0.5 + jitter() / 2)
            print(f"{what}: {exc}; again in {wait:.1f} s", file=sys.stderr, flush=True)
            stop.pause(wait)
    raise Transient("no attempt was made")


def error_code(body: bytes) -> str:
    """Return the code in an S3 error body, or an empty text."""
    found = _CODE.search(body)
    return "" if found is None else found.group(1).decode()


def raise_for(status: int, body: bytes) -> None:
    """Raise what an answer that is no success means (S3 API reference, Error responses)."""
    code = error_code(body)
    text = f"the storage answered {status}{' ' + code if code else ''}"
    if status == 412:
        raise Changed(text)
    if code in _AGAIN or status in (408, 409, 429) or (status >= 500 and status != 501):
        raise Transient(text)
    if status in (401, 403) or code in _EXPIRED:
        raise Denied(text)
    raise Refused(text, code or str(status))


def trust_of(trusts: Sequence[Trust], host: str) -> Trust:
    """Return what is trusted of a URL's host: of the longest name that it has or lies below, else what the system trusts."""
    name = host.lower()
    name = name[:-4] if name.endswith(":443") else name
    fitting = [each for each in trusts if each.host in ("", name) or name.endswith("." + each.host)]
    return max(fitting, key=lambda each: len(each.host), default=Trust(""))


def _context(trust: Trust) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust.ca_file)
    except OSError as exc:  # ssl.SSLError, too
        raise Refused(
            f"the CA file {trust.ca_file} of the storage cannot be used on this node: {exc.strerror or exc}"
        ) from None
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Line:
    """Connections to the storage, kept alive, one a thread and host."""

    def __init__(self, trusts: Sequence[Trust], *, policy: Policy) -> None:
        self.policy = policy
        self._trusts = trusts
        self._local = threading.local()
        self._contexts: Dict[Trust, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def _tls(self, host: str) -> ssl.SSLContext:
        trust = trust_of(self._trusts, host)
        with self._lock:
            if trust not in self._contexts:
                self._contexts[trust] = _context(trust)
            return self._contexts[trust]

    def _connection(self, scheme: str, host: str) -> Tuple[http.client.HTTPConnection, bool]:
        kept: Dict[Tuple[str, str], http.client.HTTPConnection]
        kept = self._local.__dict__.setdefault("kept", {})
        connection = kept.get((scheme, host))
        if connection is None:
            timeout = self.policy.timeout
            if scheme == "https":
                connection = http.client.HTTPSConnection(
                    host, timeout=timeout, context=self._tls(host)
                )
            else:
                connection = http.client.HTTPConnection(host, timeout=timeout)
            kept[(scheme, host)] = connection
        return connection, connection.sock is not None

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Optional[Body] = None,
        length: Optional[int] = None,
    ) -> http.client.HTTPResponse:
        """Send a request with exactly these headers (and Host, Content-Length).

        `body` makes the chunks, anew each time it is called; `length` counts their bytes. The answer
        must be read to its end or closed by `drop`.

        Raises
        ------
        Transient
            When the connection fails.
        Refused
            When the storage's certificate is not trusted, or cannot be checked, or the URL is none.
        """
        parts = urlsplit(url)
        target = parts.path or "/"
        if parts.query:
            target += "?" + parts.query
        for last in (False, True):
            connection, reused = self._connection(parts.scheme, parts.netloc)
            try:
                return self._exchange(connection, method, target, headers, body, length)
            except ssl.SSLCertVerificationError as exc:
                connection.close()
                raise Refused(
                    f"the certificate of the storage at {parts.netloc} is not trusted: {exc.verify_message}"
                ) from None
            except http.client.InvalidURL:
                connection.close()
                raise Refused("the gateway granted something that is no URL") from None
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                # A connection that was kept alive may have been closed meanwhile: no fault of now.
                # But a POST may have been done: that its answer was lost must be known.
                if not reused or last or method == "POST":
                    raise Transient(describe(exc)) from None
            except BaseException:
                connection.close()  # what makes the body failed, or an end was asked for
                raise
        raise Transient("no connection")

    @staticmethod
    def _exchange(
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Optional[Body],
        length: Optional[int],
    ) -> http.client.HTTPResponse:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            if name.lower() not in ("host", "content-length"):
                connection.putheader(name, value)
        if length is not None:
            connection.putheader("Content-Length", str(length))
        connection.endheaders()
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if body is not None:
            try:
                for chunk in body():
                    _send(connection, chunk)
            except (BrokenPipeError, ConnectionResetError):
                # The server may have answered before it read all; its answer says why.
                response = connection.getresponse()
                if response.status < 400:
                    raise
                return response
        if connection.sock is not None and _QUICKACK is not None:
            # Stores that send head and body of an answer apart wait for the acknowledgment of the first.
            connection.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return connection.getresponse()

    def drop(self, response: http.client.HTTPResponse, url: str) -> None:
        """Give up an answer that was not read to its end, and its connection."""
        response.close()
        parts = urlsplit(url)
        self._connection(parts.scheme, parts.netloc)[0].close()

    def finish(self, response: http.client.HTTPResponse, url: str) -> bytes:
        """Read a short answer to its end, for its error or its XML.

        Raises
        ------
        Transient
            When the connection fails.
        """
        try:
            body = response.read(1 << 20)
            if response.read1(1):
                self.drop(response, url)
        except (OSError, http.client.HTTPException) as exc:
            self.drop(response, url)
            raise Transient(describe(exc)) from None
        return body


def receive(response: http.client.HTTPResponse, buffer: memoryview) -> int:
    """Read what has come of an answer's body, which has a Content-Length, into a buffer; 0 at its end.

    Whoever read all that was promised calls the answer's `close`, which keeps its connection.
    """
    return 0 if response.fp is None else response.fp.readinto1(buffer)


def _send(connection: http.client.HTTPConnection, chunk: Chunk) -> None:
    """Send bytes, or some of a file without taking them into this process where TLS does not need them."""
    if not isinstance(chunk, Span):
        connection.send(chunk)
        return
    line = connection.sock
    if isinstance(line, ssl.SSLSocket):
        connection.send(os.pread(chunk.handle, chunk.length, chunk.at))
        return
    sent = 0
    end = time.monotonic() + (line.gettimeout() or 0)
    while sent < chunk.length:
        try:
            count = os.sendfile(line.fileno(), chunk.handle, chunk.at + sent, chunk.length - sent)
        except BlockingIOError:
            poll = select.poll()
            poll.register(line, select.POLLOUT)
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError("timed out") from None
            continue
        if count == 0:
            return  # the file is shorter than it was: who reads it sees that
        sent += count


def describe(exc: Exception) -> str:
    """Return a short text of a connection's failure, without any URL."""
    if isinstance(exc, TimeoutError):
        return "the storage did not answer in time"
    if isinstance(exc, OSError) and exc.strerror:
        return f"connection to the storage: {exc.strerror}"
    return f"connection to the storage: {type(exc).__name__}"
