"""A receiver of webhooks: a real HTTP server that notes what comes and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One request."""

    headers: dict[str, str]
    raw: bytes
    path: str

    @property
    def body(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = json.loads(self.raw)
        return found


@dataclass
class Receiver:
    """What came, and what is answered: `status`, or those of `answers` first; `drip` seconds for each byte of the head."""

    port: int = 0
    status: int = 204
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    large: int = 0
    drip: float = 0
    hold: threading.Event | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """Ids of the events that it took."""
        return [request.headers["webhook-id"] for request in self.requests]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run one."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            found.connections += 1
            super().setup()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if found.hold is not None:
                found.hold.wait(20)
            if found.drip:
                try:
                    for letter in b"HTTP/1.1 204 No Content\r\nX-Slow: 1\r\n\r\n" * 1000:
                        self.wfile.write(bytes([letter]))
                        time.sleep(found.drip)
                except OSError:
                    return
            status = found.answers.pop(0) if found.answers else found.status
            if status < 300:
                headers = {name.lower(): value for name, value in self.headers.items()}
                found.requests.append(Received(headers, raw, self.path))
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(found.large))
            self.end_headers()
            if found.large:
                self.wfile.write(b"x" * found.large)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
