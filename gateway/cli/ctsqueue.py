"""ctsqueue: the jobs that have not ended, as squeue shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli import common, states
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.filters import Labels
from gateway.cli.refs import listed, ref_of
from gateway.cli.show import find
from gateway.cli.text import duration, print_json, table
from gateway.cli.waits import why
from gateway.client import Client
from gateway.ids import JobRef
from gateway.wire import Container, JobPreview

_MOST = 1000
_HEAD = ("JOBID", "SITE", "NAME", "USER", "ST", "TIME", "CONTAINERS", "NODELIST(REASON)")


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
        str | None,
        typer.Option(
            "-j",
            "--jobs",
            help="Only these, with commas between: jobs 1234, containers 1234_0, or containers in a phase 1234_0.run.",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("-t", "--states", help="Only these: PD,R,CG, phases, or all (ended, too)."),
    ] = None,
    labels: Labels = None,
    noheader: Annotated[bool, typer.Option("-h", "--noheader", help="No line of titles.")] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List jobs that have not ended."""
    wanted = states.phases("-t", state) if state is not None else list(states.LIVE)
    if labels and jobs is not None:
        raise UserError("--label does not go with -j; give one of them")
    if me and (everyone or users is not None):
        raise UserError("--me does not go with -u or -a; give one of them")
    worst = common.OK
    containers: list[tuple[JobPreview, Container]] = []
    with connect(socket) as client:
        if jobs is not None:
            found: list[JobPreview] = []
            there, worst = common.for_each(
                listed(jobs), lambda text: _named(client, ref_of(text), found, containers)
            )
            if not there:
                common.leave(worst)
        else:
            found = [
                job
                for whose in _whose(client, users, everyone)
                for job in _listed(client, wanted, labels or (), *whose)
            ]
        latest = {job.id: job for job in found if job.phase in wanted}
        found = sorted(latest.values(), key=lambda job: int(job.id))
        containers = [pair for pair in containers if pair[1].phase in wanted]
        if as_json:
            print_json([*found, *(container for _, container in containers)])
        else:
            rows = [_row(client, job) for job in found] + [_part(*pair) for pair in containers]
            table(_HEAD, rows, header=not noheader)
    common.leave(worst)


def _named(
    client: Client,
    ref: JobRef,
    jobs: list[JobPreview],
    containers: list[tuple[JobPreview, Container]],
) -> None:
    """Look up what one id names."""
    # A preview, as lists have it: without thousands of files.
    job = JobPreview(**client.job(str(ref.job_id)).model_dump())
    if ref.container is None:
        jobs.append(job)
        return
    container = find(client, ref)
    if ref.phase in (None, container.phase):
        containers.append((job, container))


def _whose(client: Client, users: str | None, everyone: bool) -> list[tuple[str | None, bool]]:
    """Return (user, everyone) of each list to ask for; one's own needs no admin."""
    if users is None:
        return [(None, everyone)]
    own = client.whoami().user
    return [(None if name == own else name, False) for name in listed(users)]


def _listed(
    client: Client,
    wanted: Sequence[str],
    labels: Sequence[str],
    user: str | None,
    everyone: bool,
) -> list[JobPreview]:
    # State by state and forward: a job that moves on meanwhile is seen twice rather than not at all, and many
    # ended jobs do not push a live one out of the list.
    found: list[JobPreview] = []
    for state in dict.fromkeys(states.PHASES[phase][1] for phase in wanted):
        some = client.jobs(state=state, limit=_MOST, labels=labels, user=user, everyone=everyone)
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
    nodes: list[str] = []
    if job.phase in states.RUNNING:
        live = [c for c in client.containers(job.id) if c.phase in states.RUNNING]
        nodes = sorted({c.node for c in live if c.node})
    return (
        job.id,
        *_what(job),
        states.code(job.phase),
        _ran(started, ended),
        job.job_input.get("num_containers", 1),
        _where(nodes, why(job)),
    )


def _part(job: JobPreview, container: Container) -> tuple[object, ...]:
    """A row of one container."""
    times = [time for pair in container.times.values() for time in pair if time is not None]
    started = min((datetime.fromisoformat(time) for time in times), default=None)
    ended = None
    if container.phase in states.ENDED:
        ended = max((datetime.fromisoformat(time) for time in times), default=None)
    nodes = [container.node] if container.node and container.phase in states.RUNNING else []
    return (
        container.id,
        *_what(job),
        states.code(container.phase),
        _ran(started, ended),
        1,
        _where(nodes, container.reason or why(job)),
    )


def _what(job: JobPreview) -> tuple[object, object, str]:
    name = job.name or job.image.name.rpartition("/")[2]
    return job.job_input.get("cluster"), name, job.user


def _ran(started: datetime | None, ended: datetime | None) -> str:
    seconds = ((ended or datetime.now(UTC)) - started).total_seconds() if started else 0
    return duration(max(0, seconds))


def _where(nodes: Iterable[str], reason: str | None) -> str:
    return ",".join(nodes) or (f"({reason})" if reason else "")


app = common.single(
    ctsqueue,
    "List jobs that have not ended. ST: PD waits, SI stages in, R runs, SO stages out, CG ends; with -t also "
    "CD complete, F error, CA canceled. TIME is [D-]HH:MM:SS since the first container began.",
    examples("ctsqueue", "ctsqueue -t R,PD -h", "ctsqueue -j 1234_0", "ctsqueue -t all -j 1234"),
    help_option_names=["--help"],
)


def main() -> None:
    """Run the command line."""
    common.run(app)
