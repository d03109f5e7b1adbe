"""ctsqueue: the jobs that have not ended, as squeue shows them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli import common, queue_fields, states
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.filters import Labels
from gateway.cli.grouped import options_of
from gateway.cli.job_lists import Narrow, find_jobs, whose
from gateway.cli.queue_fields import NAMES, Column
from gateway.cli.queue_rows import Row
from gateway.cli.refs import listed, ref_of
from gateway.cli.show import find
from gateway.cli.text import clean, local, print_json, table
from gateway.client import Client
from gateway.ids import JobRef
from gateway.wire import JobPreview


@dataclass(frozen=True)
class Options:
    """What was said."""

    users: Annotated[
        str | None, typer.Option("-u", "--user", help="These users' jobs (others': admins).")
    ] = None
    me: Annotated[bool, typer.Option("--me", help="Your own jobs; that is what is shown.")] = False
    everyone: Annotated[bool, typer.Option("-a", "--all", help="Everyone's jobs (admins).")] = False
    jobs: Annotated[
        str | None,
        typer.Option(
            "-j",
            "--jobs",
            help="Only these, with commas between: jobs 1234, containers 1234_0, or containers in a phase 1234_0.run.",
        ),
    ] = None
    state: Annotated[
        str | None,
        typer.Option("-t", "--states", help="Only these: PD,R,CG, phases, or all (ended, too)."),
    ] = None
    labels: Labels = None
    names: Annotated[str | None, typer.Option("-n", "--name", help="Only jobs of these names.")] = (
        None
    )
    partitions: Annotated[
        str | None, typer.Option("-p", "--partition", help="Only in these partitions.")
    ] = None
    accounts: Annotated[
        str | None, typer.Option("-A", "--account", help="Only of these accounts.")
    ] = None
    qos: Annotated[str | None, typer.Option("-q", "--qos", help="Only of these QOS.")] = None
    reservations: Annotated[
        str | None, typer.Option("-R", "--reservation", help="Only in these reservations.")
    ] = None
    licenses: Annotated[
        str | None, typer.Option("-L", "--licenses", help="Only with one of these licenses.")
    ] = None
    sites: Annotated[
        str | None, typer.Option("-M", "--site", "--clusters", help="Only at these sites.")
    ] = None
    nodes: Annotated[
        str | None, typer.Option("-w", "--nodelist", help="Only on one of these nodes.")
    ] = None
    array: Annotated[
        bool, typer.Option("-r", "--array", help="A line for each container of a job.")
    ] = False
    long: Annotated[bool, typer.Option("-l", "--long", help="More columns.")] = False
    start: Annotated[
        bool,
        typer.Option("--start", help="Jobs that wait, and when they are expected to start."),
    ] = False
    short_format: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--format",
            envvar="CTSQUEUE_FORMAT",
            help='Columns by squeue\'s letters: "%.18i %.9P %j".',
        ),
    ] = None
    long_format: Annotated[
        str | None,
        typer.Option("-O", "--Format", help="Columns by squeue's names: JobID:10,Name:20,State."),
    ] = None
    sort: Annotated[
        str | None,
        typer.Option(
            "-S", "--sort", envvar="CTSQUEUE_SORT", help="Letters or names of columns: P,-S."
        ),
    ] = None
    iterate: Annotated[
        float | None,
        typer.Option("-i", "--iterate", min=0.1, help="Again every so many seconds, until Ctrl-C."),
    ] = None
    noheader: Annotated[bool, typer.Option("-h", "--noheader", help="No line of titles.")] = False
    as_json: AsJson = False


@command
@options_of(Options)
def ctsqueue(ctx: typer.Context, options: Options, socket: Socket = SOCKET) -> None:
    """List jobs that have not ended."""
    if options.labels and options.jobs is not None:
        raise UserError("--label does not go with -j; give one of them")
    if options.me and (options.everyone or options.users is not None):
        raise UserError("--me does not go with -u or -a; give one of them")
    show = _shown(options)
    sort = queue_fields.sorter(options.sort or "S") if options.sort or options.start else list
    worst = common.OK
    with connect(socket) as client:
        while True:
            rows, worst = _rows(client, options)
            if options.iterate is not None and not options.noheader and not options.as_json:
                typer.echo(local(datetime.now(UTC)).replace("T", " "))
            if rows is not None:
                show(sort(rows))
            if options.iterate is None or rows is None:
                break
            typer.echo()
            sys.stdout.flush()
            time.sleep(options.iterate)
    common.leave(worst)


def _shown(options: Options) -> Callable[[list[Row]], None]:
    """Return what prints rows as they are wanted.

    Raises
    ------
    UserError
        For a format that cannot be.
    """
    header = not options.noheader
    if options.as_json:
        return lambda rows: print_json([row.container or row.job for row in rows])
    columns: list[Column] | None = None
    if options.long_format is not None:
        columns = queue_fields.long_format(options.long_format)
    elif options.short_format is not None:
        columns = queue_fields.short_format(options.short_format)
    if columns is not None:
        return lambda rows: _print(queue_fields.lines(columns, rows, header=header))
    names: tuple[str, ...] = queue_fields.USUAL
    if options.start:
        names = queue_fields.START
    elif options.long:
        names = queue_fields.LONG
    fields = [NAMES[name] for name in names]
    head = [each.title for each in fields]
    return lambda rows: table(
        head, ([each.show(row) for each in fields] for row in rows), header=header
    )


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(clean(line))


def _rows(client: Client, options: Options) -> tuple[list[Row] | None, int]:
    """Return what is to be shown, and the exit code; None where all that was named is not there."""
    state = "PD" if options.state is None and options.start else options.state
    wanted = states.phases("-t", state) if state is not None else list(states.LIVE)
    narrow = Narrow(
        *(options.sites, options.names, options.accounts, options.partitions),
        *(options.qos, options.reservations, options.licenses),
    )
    worst = common.OK
    rows: list[Row] = []
    if options.jobs is not None:
        found: list[Row] = []
        there, worst = common.for_each(
            listed(options.jobs), lambda text: found.append(_named(client, ref_of(text)))
        )
        if not there:
            return None, worst
        jobs = {row.job.id: row for row in found if row.container is None}
        rows = sorted(jobs.values(), key=lambda row: row.order)
        rows += [row for row in found if row.container is not None and _in_phase(row, options)]
        rows = [row for row in rows if row.phase in wanted]
    else:
        users = whose(client, options.users, options.everyone)
        rows = [Row(client, job) for job in find_jobs(client, wanted, users, options.labels or ())]
    rows = [row for row in rows if narrow.fits(row.job)]
    if options.array:
        rows = [each for row in rows for each in _parts(client, row, wanted)]
    if options.nodes is not None:
        names = set(listed(options.nodes))
        rows = [row for row in rows if names & set(row.nodes)]
    return rows, worst


def _named(client: Client, ref: JobRef) -> Row:
    """Look up what one id names."""
    # A preview, as lists have it: without thousands of files.
    job = JobPreview(**client.job(str(ref.job_id)).model_dump())
    return Row(client, job, None if ref.container is None else find(client, ref))


def _in_phase(row: Row, options: Options) -> bool:
    """Whether a container is in the phase that its id was given with, where one was."""
    given = [ref_of(text) for text in listed(options.jobs or "")]
    return any(str(ref) in (row.id, f"{row.id}.{row.phase}") for ref in given)


def _parts(client: Client, row: Row, wanted: Sequence[str]) -> list[Row]:
    if row.container is not None:
        return [row]
    parts = (Row(client, row.job, each) for each in client.containers(row.job.id))
    return [part for part in parts if part.phase in wanted]


app = common.single(
    ctsqueue,
    "List jobs that have not ended. ST: PD waits, SI stages in, R runs, SO stages out, CG ends; with -t also "
    "CD complete, F error, CA canceled. TIME is [D-]HH:MM:SS since the first container began.",
    examples(
        "ctsqueue",
        "ctsqueue -t R,PD -h",
        "ctsqueue -j 1234_0",
        "ctsqueue -t all -j 1234",
        'ctsqueue -o "%.10i %.9P %.20j %.2t %.10M %R" -S -M',
        "ctsqueue --start",
    ),
    help_option_names=["--help"],
)


def main() -> None:
    """Run the command line."""
    common.run(app)
