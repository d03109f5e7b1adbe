"""ctscancel: cancel jobs, as scancel does."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from gateway.cli import common, states
from gateway.cli.common import SOCKET, Socket, UserError, command, connect, examples
from gateway.cli.grouped import options_of
from gateway.cli.job_lists import Narrow, find_jobs, whose
from gateway.cli.refs import job_of, listed
from gateway.cli.text import clean
from gateway.client import Client, CtsError
from gateway.errors import AppCode
from gateway.wire import JobPreview

_REMEDY = "ctscancel {job}"
_TASKS = re.compile(r"([1-9][0-9]{0,17})_(?:\[.*\]|\*)", re.ASCII | re.DOTALL)
_BETWEEN = re.compile(r",(?![^\[]*\])")  # not in brackets
_SIGNALS = "the gateway sends no signals to containers; a job that is canceled gets SIGTERM, and SIGKILL soon after"


def _refuse_signal(ctx: typer.Context, value: object) -> object:
    if value:
        common.fail(f"--signal, --batch and --full are scancel's: {_SIGNALS}", common.BAD_INPUT)
    return value


@dataclass(frozen=True)
class Options:
    """What was said."""

    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]...", help="Jobs such as 1234, whole ones; 12,13 are two."),
    ] = None
    users: Annotated[
        str | None, typer.Option("-u", "--user", help="Only these users' jobs (others': admins).")
    ] = None
    me: Annotated[bool, typer.Option("--me", help="Only your own jobs.")] = False
    state: Annotated[
        str | None, typer.Option("-t", "--state", help="Only these: PENDING, RUNNING, PD, R, …")
    ] = None
    names: Annotated[
        str | None, typer.Option("-n", "--name", "--jobname", help="Only jobs of these names.")
    ] = None
    accounts: Annotated[
        str | None, typer.Option("-A", "--account", help="Only of these accounts.")
    ] = None
    partitions: Annotated[
        str | None, typer.Option("-p", "--partition", help="Only in these partitions.")
    ] = None
    qos: Annotated[str | None, typer.Option("-q", "--qos", help="Only of these QOS.")] = None
    reservations: Annotated[
        str | None, typer.Option("-R", "--reservation", help="Only in these reservations.")
    ] = None
    sites: Annotated[
        str | None, typer.Option("-M", "--site", "--clusters", help="Only at these sites.")
    ] = None
    interactive: Annotated[
        bool, typer.Option("-i", "--interactive", help="Ask for each job whether to cancel it.")
    ] = False
    quiet: Annotated[
        bool, typer.Option("-Q", "--quiet", help="A job that has ended already is no error.")
    ] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False
    signal: Annotated[
        str | None,
        typer.Option("-s", "--signal", callback=_refuse_signal, help="Refused: no signals."),
    ] = None
    signal_whom: Annotated[
        bool,
        typer.Option("-b", "--batch", "-f", "--full", callback=_refuse_signal, help="Refused."),
    ] = False


@command
@options_of(Options)
def ctscancel(ctx: typer.Context, options: Options, socket: Socket = SOCKET) -> None:
    """Cancel jobs."""
    if options.quiet and options.verbose:
        raise UserError("-Q does not go with -v; give one of them")
    if options.me and options.users is not None:
        raise UserError("--me does not go with -u; give one of them")
    given = (part.strip() for text in options.jobs or () for part in _BETWEEN.split(text))
    named = [name for name in given if name]
    narrowed = _narrowed(options)
    if not named and not narrowed:
        raise UserError(
            "name jobs, as in ctscancel 1234, or say which, as in ctscancel --state PENDING or ctscancel --me"
        )
    with connect(socket) as client:
        if not narrowed:
            _, worst = common.for_each(named, lambda name: _cancel(client, name, options))
        else:
            found, worst = _found(client, named, options)
            if not found and options.verbose:
                typer.echo("ctscancel: no job that has not ended is like that", err=True)
            _, code = common.for_each(found, lambda name: _cancel(client, name, options))
            worst = max(worst, code)
    common.leave(worst)


def _narrow(options: Options) -> Narrow:
    return Narrow(
        sites=options.sites,
        names=options.names,
        accounts=options.accounts,
        partitions=options.partitions,
        qos=options.qos,
        reservations=options.reservations,
    )


def _narrowed(options: Options) -> bool:
    return (
        options.me
        or any(value is not None for value in (options.users, options.state))
        or _narrow(options) != Narrow()
    )


def _found(client: Client, named: list[str], options: Options) -> tuple[list[str], int]:
    """Return the jobs that all filters fit, of those that were named where some were; and the exit code of what is no job."""
    phases = states.phases("-t", options.state) if options.state is not None else states.LIVE
    narrow, users = _narrow(options), set(listed(options.users or ""))
    live = [phase for phase in phases if phase in states.LIVE]
    if not named:
        jobs = find_jobs(client, live, whose(client, options.users, everyone=False))
        return [job.id for job in jobs if narrow.fits(job)], common.OK
    found: list[JobPreview] = []
    if options.me:
        users = {client.whoami().user}
    _, worst = common.for_each(named, lambda name: found.append(client.job(_job(name))))
    return [
        job.id
        for job in found
        if narrow.fits(job) and job.phase in live and (not users or job.user in users)
    ], worst


def _job(name: str) -> str:
    """Read the id of a job; tasks of an array, as scancel writes them, are containers."""
    tasks = _TASKS.fullmatch(name)
    if tasks is not None:
        raise UserError(
            f"{name[:100]} are containers, and this is done to whole jobs only: ctscancel {tasks[1]}"
        )
    return job_of(name, _REMEDY)


def _cancel(client: Client, name: str, options: Options) -> None:
    job_id = _job(name)
    if options.interactive and not _agreed(client, job_id):
        return
    try:
        client.cancel(job_id)
    except CtsError as exc:
        if options.quiet and exc.appcode == AppCode.INVALID_JOB_STATE.code:
            return
        raise
    if options.verbose:
        typer.echo(f"ctscancel: Terminating job {name}", err=True)


def _agreed(client: Client, job_id: str) -> bool:
    """Ask on standard error; the answer is a line of standard input."""
    job = client.job(job_id)
    said = f"Cancel job_id={job_id} name={job.name or job.image.name} partition={job.partition or ''} [y/n]? "
    while True:
        typer.echo(clean(said), err=True, nl=False)
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if answer.strip().lower() in ("y", "yes"):
            return True
        if not answer or answer.strip().lower() in ("n", "no"):
            return False


app = common.single(
    ctscancel,
    "Cancel jobs, all containers of each: a single container, which scancel would take, is refused (exit code 2). "
    "One that is refused does not keep the others from being canceled.",
    examples(
        "ctscancel 1234",
        "ctscancel -v 1234,1235",
        "ctscancel --me --state PENDING",
        "ctscancel -n nap -i",
    ),
)


def main() -> None:
    """Run the command line."""
    common.run(app)
