"""Rows that the tests of the store begin with; any field can be given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.store.tables import Audit, Image, InputFile

MOMENT = datetime(2026, 11, 24, 5, 40, 6, 123456, tzinfo=UTC)


def audit(target: str = "x", **fields: Any) -> Audit:
    row: dict[str, Any] = {"time": MOMENT, "user": "alice", "origin": "socket", "action": "a"}
    return Audit(**row | {"target": target, "result": "ok"} | fields)


def image(**fields: Any) -> Image:
    row: dict[str, Any] = {"name": "docker.io/library/a", "digest": "sha256:1", "tag": "1"}
    more: dict[str, Any] = {"entrypoint": ["/a"], "cmd": [], "registered_by": "ada"}
    return Image(**row | more | {"registered_on": MOMENT} | fields)


def input_file(**fields: Any) -> InputFile:
    row: dict[str, Any] = {"job_id": 1, "container": 0, "position": 0, "bucket": "b", "key": "k"}
    return InputFile(**row | {"path": "k", "size": 1, "etag": "e"} | fields)
