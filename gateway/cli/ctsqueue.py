"""ctsqueue: the jobs that have not ended, as squeue shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.common import (
    EXIT_CODES,
    SOCKET,
    AsJson,
    Socket,
    command,
    connect,
    duration,
    print_json,
    table,
)
from gateway.client import ENDED
from gateway.wire import JobPreview

_SHORT = {
    "created": "PD",
    "submitting": "PD",
    "pending": "PD",
    "stage-in": "SI",
    "run": "R",
    "stage-out": "SO",
    "settling": "CG",
    "failing": "CG",
    "canceling": "CG",
}


@command
def ctsqueue(
    user: Annotated[
        str | None, typer.Option("-u", "--user", help="Only this user's jobs (admins).")
    ] = None,
    everyone: Annotated[
        bool, typer.Option("-a", "--all", help="Everyone's jobs (admins).")
    ] = False,
    jobs: Annotated[
        str | None, typer.Option("-j", "--jobs", help="Only these, with commas between.")
    ] = None,
    noheader: Annotated[bool, typer.Option("-h", "--noheader", help="No line of titles.")] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List jobs that have not ended."""
    with connect(socket) as client:
        found = [job for job in client.jobs(user=user, everyone=everyone) if job.state not in ENDED]
    wanted = set(jobs.split(",")) if jobs else None
    found = sorted(
        (job for job in found if wanted is None or job.id in wanted), key=lambda job: int(job.id)
    )
    if as_json:
        print_json(found)
        return
    table(
        ("JOBID", "SITE", "NAME", "USER", "ST", "TIME", "CONTAINERS", "REASON"),
        [_row(job) for job in found],
        header=not noheader,
    )


def _row(job: JobPreview) -> tuple[object, ...]:
    started = next((t.time for t in job.transition_times if t.phase in ("stage-in", "run")), None)
    ran = (datetime.now(UTC) - started).total_seconds() if started else 0
    name = job.name or job.image.name.rpartition("/")[2]
    return (
        job.id,
        job.job_input.get("cluster"),
        name,
        job.user,
        _SHORT.get(job.phase, job.phase),
        duration(ran),
        job.job_input.get("num_containers", 1),
        f"({job.reason})" if job.reason else "",
    )


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(
        help=f"List jobs that have not ended.\n\nST: PD waits, SI stages in, R runs, SO stages out, CG ends.\n\n{EXIT_CODES}",
        context_settings={"help_option_names": ["--help"]},
    )(ctsqueue)
    app()
