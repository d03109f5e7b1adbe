"""What happens to jobs, for tests of those who are told: rows of a real database, read by a real feed."""

from __future__ import annotations

from sqlmodel import delete

from gateway.config import WebhooksSection
from gateway.jobs.feed import Feed
from gateway.jobs.webhooks import Webhooks
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Job, Resend, Subscriber, Transition

SECTION = WebhooksSection(allow_hosts=("hooks.example.org", "127.0.0.1:*"), per_user=8)


class Happenings:
    """Lets things happen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.write() as session:
            for table in (Transition, Job, Subscriber, Resend):
                session.exec(delete(table))
        self.feed = Feed(database)
        self.broken: str | None = None  # what is wrong with a webhook that is tested
        self.webhooks = Webhooks(database, SECTION, lambda _: self.broken, lambda: None)

    def happen(
        self, number: int, *phases: str, user: str, container: int | None = None, read: bool = True
    ) -> list[str]:
        """Let a job come to phases; returns the ids of the events."""
        rows = []
        with self._database.write() as session:
            if session.get(Job, number) is None:
                session.add(_job(number, user))
            for phase in phases:
                row = Transition(job_id=number, container=container, phase=phase, time=now())
                session.add(row)
                session.flush()
                rows.append(str(row.id))
        if read:
            self.feed.read()
        return rows


def _job(number: int, user: str) -> Job:
    return Job(
        id=number, user=user, site="dev", phase="created", created=now(), updated=now(), job_input={}, image={},
        token="", num_containers=1, cpus=1, memory=1, runtime=1, input_file_count=1, input_bytes=1, output_dir="a/b/",
    )  # fmt: skip
