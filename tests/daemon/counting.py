"""Counting what the database is asked, and the memory that is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from gateway.store.db import Database


@dataclass
class Count:
    """Writing sessions, and statements of all sessions."""

    sessions: int = 0
    statements: int = 0


@contextmanager
def writes(database: Database) -> Iterator[Count]:
    """Count what is done meanwhile."""
    count = Count()
    write = database.write

    @contextmanager
    def counting() -> Iterator[Session]:
        count.sessions += 1
        with write() as session:
            yield session

    def statement(*_: Any) -> None:
        count.statements += 1

    database.write = counting  # type: ignore[method-assign]
    event.listen(database.engine, "before_cursor_execute", statement)
    try:
        yield count
    finally:
        del database.write
        event.remove(database.engine, "before_cursor_execute", statement)


def peak(reset: bool = False) -> int:
    """The most memory that this process ever had, in bytes; or since it was forgotten (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
