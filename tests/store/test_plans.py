"""What the loops ask at every look is served by an index: the history may be as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import Session

from gateway.store import jobs, submissions
from gateway.store.db import Database
from gateway.store.tables import Submission

KEYS = {(1, 0), (2, 1)}
SOME = [Submission(id=1, job_id=1, number=0, tag="t", state="prepared", containers=[0])]  # type: ignore[call-arg]

QUESTIONS: dict[str, Callable[[Session], Any]] = {
    "active": lambda s: jobs.active(s, "dev"),
    "waiting": lambda s: jobs.waiting(s, "dev"),
    "these": lambda s: jobs.these(s, KEYS),
    "over": lambda s: jobs.over(s, "dev"),
    "unplanned": lambda s: jobs.unplanned(s, "dev"),
    "held back": lambda s: jobs.held_back(s, "dev", "x"),
    "outputs": lambda s: jobs.outputs_of(s, KEYS),
    "given": lambda s: submissions.given(s, KEYS),
    "members": lambda s: submissions.members(s, SOME),
    "queued": lambda s: submissions.queued(s, "dev"),
    "unfinished": lambda s: submissions.unfinished(s, [1]),
    "in a state": lambda s: submissions.submissions_in(s, "dev", "prepared"),
    "waiting jobs": lambda s: submissions.waiting_jobs(s, "dev"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_table_is_gone_through(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/cts.db")
    database.migrate()
    asked: list[tuple[str, Any]] = []
    with database.read() as session:
        session.connection()
        event.listen(
            database.engine,
            "before_cursor_execute",
            lambda _c, _cursor, statement, values, _x, _m: asked.append((statement, values)),
        )
        QUESTIONS[name](session)
        assert asked
        for statement, values in tuple(asked):
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            steps = [row[3] for row in plan]
            assert not [step for step in steps if step.startswith("SCAN")], (statement, steps)
    database.close()
