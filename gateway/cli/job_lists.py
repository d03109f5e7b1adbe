"""Finding jobs as squeue and scancel do: by state, user, and what else is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import typer

from gateway.cli import states
from gateway.cli.refs import listed
from gateway.client import Client
from gateway.wire import JobPreview

MOST = 1000


@dataclass(frozen=True)
class Narrow:
    """What jobs must be like; None lets all through. Each is a list with commas between, of which one must fit."""

    sites: str | None = None
    names: str | None = None
    accounts: str | None = None
    partitions: str | None = None
    qos: str | None = None
    reservations: str | None = None
    licenses: str | None = None

    def fits(self, job: JobPreview) -> bool:
        """Whether a job is like that."""
        asked = job.job_input.get("licenses") or ""
        own = {
            "sites": job.job_input.get("cluster"),
            "names": job.name or job.image.name.rpartition("/")[2],
            "accounts": job.account,
            "partitions": job.partition,
            "qos": job.qos,
            "reservations": job.job_input.get("reservation"),
        }
        for field, value in own.items():
            wanted = getattr(self, field)
            if wanted is not None and value not in listed(wanted):
                return False
        names = {part.partition(":")[0] for part in asked.split(",")}
        return self.licenses is None or bool(names & set(listed(self.licenses)))


def whose(client: Client, users: str | None, everyone: bool) -> list[tuple[str | None, bool]]:
    """Return (user, everyone) of each list to ask for; one's own needs no admin."""
    if users is None:
        return [(None, everyone)]
    own = client.whoami().user
    return [(None if name == own else name, False) for name in listed(users)]


def find_jobs(
    client: Client,
    wanted: Sequence[str],
    users: Sequence[tuple[str | None, bool]],
    labels: Sequence[str] = (),
) -> list[JobPreview]:
    """List the jobs in those phases, by id."""
    found: list[JobPreview] = []
    for user, everyone in users:
        # State by state and forward: a job that moves on meanwhile is seen twice rather than not at all, and many
        # ended jobs do not push a live one out of the list.
        for state in dict.fromkeys(states.PHASES[phase][1] for phase in wanted):
            some = client.jobs(state=state, limit=MOST, labels=labels, user=user, everyone=everyone)
            if len(some) == MOST:
                typer.echo(
                    f"warning: only the newest {MOST} jobs in state {state} are shown", err=True
                )
            found += some
    latest = {job.id: job for job in found if job.phase in wanted}
    return sorted(latest.values(), key=lambda job: int(job.id))
