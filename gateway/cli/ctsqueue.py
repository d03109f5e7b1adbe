"""ctsqueue: the jobs that have not ended, as squeue shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli import common, states
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, print_json, table
from gateway.client import Client
from gateway.wire import JobPreview

_MOST = 1000


@command
def ctsqueue(
    users: Annotated[
        str | None, typer.Option("-u", "--user", help="These users' jobs (others': admins).")
    ] = None,
    me: Annotated[bool, typer.Option("--me", help="Your own jobs; that is what is shown.")] = False,
    everyone: Annotated[
        bool, typer.Option("-a", "--all", help="Everyone's jobs (admins).")
    ] = False,
    jobs: Annotated[
        str | None, typer.Option("-j", "--jobs", help="Only these, with commas between.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("-t", "--states", help="Only these: PD,R,CG, phases, or all (ended, too)."),
    ] = None,
    noheader: Annotated[bool, typer.Option("-h", "--noheader", help="No line of titles.")] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List jobs that have not ended."""
    wanted = states.phases("-t", state) if state is not None else list(states.LIVE)
    if me and (everyone or users is not None):
        common.fail("--me does not go with -u or -a; give one of them", common.BAD_INPUT)
    with connect(socket) as client:
        if jobs is not None:
            names = [name for name in jobs.split(",") if name]
            # A preview, as lists have it: without thousands of files.
            found = [JobPreview(**client.job(name).model_dump()) for name in names]
        else:
            found = [
                job
                for whose in _whose(client, users, everyone)
                for job in _listed(client, wanted, *whose)
            ]
        latest = {job.id: job for job in found if job.phase in wanted}
        found = sorted(latest.values(), key=lambda job: int(job.id))
        if as_json:
            print_json(found)
            return
        table(
            ("JOBID", "SITE", "NAME", "USER", "ST", "TIME", "CONTAINERS", "NODELIST(REASON)"),
            [_row(client, job) for job in found],
            header=not noheader,
        )


def _whose(client: Client, users: str | None, everyone: bool) -> list[tuple[str | None, bool]]:
    """Return (user, everyone) of each list to ask for; one's own needs no admin."""
    if users is None:
        return [(None, everyone)]
    own = client.whoami().user
    return [(None if name == own else name, False) for name in users.split(",") if name]


def _listed(
    client: Client, wanted: list[str], user: str | None, everyone: bool
) -> list[JobPreview]:
    # State by state and forward: a job that moves on meanwhile is seen twice rather than not at all, and many
    # ended jobs do not push a live one out of the list.
    found: list[JobPreview] = []
    for state in dict.fromkeys(states.PHASES[phase][1] for phase in wanted):
        some = client.jobs(state=state, limit=_MOST, user=user, everyone=everyone)
        if len(some) == _MOST:
            typer.echo(
                f"warning: only the newest {_MOST} jobs in state {state} are shown", err=True
            )
        found += some
    return found


def _row(client: Client, job: JobPreview) -> tuple[object, ...]:
    times = {step.phase: step.time for step in job.transition_times}
    started = min((times[phase] for phase in states.RUNNING if phase in times), default=None)
    ended = max((times[phase] for phase in states.ENDED if phase in times), default=None)
    ran = ((ended or datetime.now(UTC)) - started).total_seconds() if started else 0
    return (
        job.id,
        job.job_input.get("cluster"),
        job.name or job.image.name.rpartition("/")[2],
        job.user,
        states.code(job.phase),
        common.duration(max(0, ran)),
        job.job_input.get("num_containers", 1),
        _where(client, job),
    )


def _where(client: Client, job: JobPreview) -> str:
    if job.phase in states.RUNNING:
        nodes = {c.node for c in client.containers(job.id) if c.node and c.phase in states.RUNNING}
        if nodes:
            return ",".join(sorted(nodes))
    return f"({job.reason})" if job.reason else ""


def main() -> None:
    """Run the command line."""
    common.run_one(
        ctsqueue,
        "List jobs that have not ended. ST: PD waits, SI stages in, R runs, SO stages out, CG ends; with -t also "
        "CD complete, F error, CA canceled.",
        help_option_names=["--help"],
    )
