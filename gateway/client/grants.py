"""Asking the gateway for presigned requests, as a node asks through its mailbox (docs/node-protocol.md), over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from gateway import wire
from gateway.agent.files import Fields
from gateway.agent.mailbox import Stop
from gateway.client.patience import persist
from gateway.connection import Connection

_BATCH = 500  # files of one request
_EARLY = 120.0  # seconds before a grant's end in which it is not begun with


class Grants:
    """An `Asker` for the agent's transfers. Outlives restarts of the daemon. Thread-safe.

    `names` are the objects that are to be read, by number; `part_size` is that of uploads, in bytes.
    """

    def __init__(self, http: Connection, names: Sequence[str] = (), part_size: int = 0) -> None:
        self._http = http
        self._names = names
        self._part_size = part_size
        self._lock = threading.Lock()
        self._known: dict[int, tuple[wire.Download, float]] = {}

    def look(self) -> list[wire.Download]:
        """Ask for all that is to be read."""
        found: list[wire.Download] = []
        for begin in range(0, len(self._names), _BATCH):
            found += self._read(list(range(begin, min(begin + _BATCH, len(self._names)))))
        return found

    def ask(self, kind: str, stop: Stop, **more: Any) -> Fields:
        """Ask for the reading of objects by number (`stage-in`), or the writing of files (`stage-out`)."""
        if kind == "stage-out":
            return self._write(more["outputs"])
        numbers: list[int] = more["inputs"]
        soon = time.time() + _EARLY
        with self._lock:
            # Each is used once: who asks again wants another.
            known = {n: self._known.pop(n) for n in numbers if n in self._known}
        if len(known) < len(numbers) or min(end for _, end in known.values()) < soon:
            self._read(numbers)
            with self._lock:
                known = {n: self._known.pop(n) for n in numbers}
        rows = [{"id": n, "url": row.url, "headers": row.headers} for n, (row, _) in known.items()]
        return Fields({"inputs": rows, "expires": min(end for _, end in known.values())}, "answer")

    def _read(self, numbers: list[int]) -> list[wire.Download]:
        body = {"files": [self._names[n] for n in numbers]}
        answer = persist(
            lambda: self._http.read(
                wire.Downloads, self._http.call("POST", "/files/read", json=body)
            )
        )
        end = answer.expires.timestamp()
        with self._lock:
            for number, row in zip(numbers, answer.downloads, strict=True):
                self._known[number] = row, end
        return answer.downloads

    def _write(self, outputs: list[dict[str, Any]]) -> Fields:
        files = [
            {"file": one["path"], **{key: one[key] for key in one if key != "path"}}
            for one in outputs
        ]
        body = {"files": files, "part_size": self._part_size}
        answer = persist(
            lambda: self._http.read(wire.Uploads, self._http.call("POST", "/files", json=body))
        )
        rows = [
            {"path": one["path"], **row.model_dump()}
            for one, row in zip(outputs, answer.uploads, strict=True)
        ]
        return Fields({"outputs": rows, "expires": answer.expires.timestamp()}, "answer")
