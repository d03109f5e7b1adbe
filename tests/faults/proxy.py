"""A TCP proxy between the nodes and RGW that drops, slows, corrupts and truncates connections, on command."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.conftest import DevCluster
from tests.sites import edited

_CHUNK = 256 << 10
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset, socket(7)
Kind = Literal["drop", "truncate", "corrupt", "slow"]


@dataclass
class Fault:
    """What happens, so many `times`, to what comes one way on any connection after its first `after` bytes.

    `down` is from RGW to the node, else the other way. `drop` resets the connection, `truncate` ends it in order,
    `corrupt` turns one bit, and `slow` lets `rate` bytes a second through from there on.
    """

    kind: Kind
    down: bool = True
    after: int = 64 << 10
    times: int = 1
    rate: int = 1 << 20


@dataclass
class Proxy:
    """Listens on a port of loopback of its own choice, and connects each who comes to `target`, another one."""

    target: int
    port: int = 0
    done: Counter[Kind] = field(default_factory=Counter)
    passed: Counter[bool] = field(default_factory=Counter)  # bytes, by whether they went down

    def __post_init__(self) -> None:
        self._faults: list[Fault] = []
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, fault: Fault) -> None:
        """Have something happen."""
        with self._lock:
            self._faults.append(fault)

    def heal(self) -> None:
        """Let nothing more happen."""
        with self._lock:
            self._faults.clear()

    def cut(self, seconds: float = 0.0) -> int:
        """Reset all connections, and those that come for some seconds; returns how many there were."""
        with self._lock:
            lines = list(self._lines)
            self._away_until = time.monotonic() + seconds
        for line in lines:
            _reset(line)
        return len(lines) // 2

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if time.monotonic() < self._away_until:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                far.settimeout(None)
            except OSError:
                _reset(near)
                continue
            for line in (near, far):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._lines |= {near, far}
            for source, sink, down in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=(source, sink, down), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        seen, pause = 0, 0.0
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        try:
            while count := source.recv_into(buffer):
                seen += count
                self.passed[down] += count
                fault = self._due(down, seen)
                if fault is not None:
                    _FATES.get(fault.kind, _nothing)(source, sink, buffer, count)
                    pause = count / fault.rate if fault.kind == "slow" else pause
                sink.sendall(view[:count])
                if pause:
                    time.sleep(pause)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(sink)
        finally:
            with self._lock:
                self._lines.discard(source)

    def _due(self, down: bool, seen: int) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.down == down and seen > fault.after and fault.times > 0:
                    fault.times -= 1
                    self.done[fault.kind] += 1
                    return fault
        return None


def _drop(source: socket.socket, sink: socket.socket, buffer: bytearray, count: int) -> None:
    raise ConnectionResetError


def _truncate(source: socket.socket, sink: socket.socket, buffer: bytearray, count: int) -> None:
    sink.sendall(memoryview(buffer)[: count // 2])
    for line in (source, sink):
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _corrupt(source: socket.socket, sink: socket.socket, buffer: bytearray, count: int) -> None:
    buffer[count // 2] ^= 0x10


def _nothing(source: socket.socket, sink: socket.socket, buffer: bytearray, count: int) -> None:
    pass


_FATES: dict[Kind, Callable[[socket.socket, socket.socket, bytearray, int], None]] = {
    "drop": _drop,
    "truncate": _truncate,
    "corrupt": _corrupt,
}


def _reset(line: socket.socket) -> None:
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


@contextmanager
def between(site: DevCluster, grant_seconds: int = 60, more: str = "") -> Iterator[Proxy]:
    """Have daemon and nodes reach RGW through a proxy; users reach it as ever. Grants are short, so that they run out.

    `more` is what else a script of `sed -E` does to the configuration.
    """
    endpoint = json.loads(site.tool("env").stdout)["s3_endpoint"]
    proxy = Proxy(urlsplit(endpoint).port or 80)
    lines = f'endpoint_url = "http://127.0.0.1:{proxy.port}"\\ngrant_seconds = {grant_seconds}'
    script = f"0,/^endpoint_url = /s#^endpoint_url = .*#{lines}#; {more}"
    try:
        with edited(site, "/etc/cts/gateway.toml", script, "gateway"):
            yield proxy
    finally:
        proxy.close()
