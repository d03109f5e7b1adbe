"""ctsacct: the accounting of jobs, containers and phases, with sacct's habits."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from gateway.cli import acct_fields, common, states, text
from gateway.cli.acct_fields import BRIEF, NAMES, USUAL, Column
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.refs import every, listed
from gateway.cli.slurmtime import parse_time
from gateway.wire import AcctRow


@command
def ctsacct(
    jobs: Annotated[
        str | None,
        typer.Option(
            "-j", "--jobs", help="Jobs, containers or phases: 12,13_0,14_0.run,20-25,30_[0-3]"
        ),
    ] = None,
    users: Annotated[
        str | None, typer.Option("-u", "--user", "--uid", help="These users' (others': admins).")
    ] = None,
    everyone: Annotated[
        bool, typer.Option("-a", "--allusers", help="Everyone's (admins).")
    ] = False,
    accounts: Annotated[
        str | None, typer.Option("-A", "--accounts", help="Only jobs of these accounts.")
    ] = None,
    sites: Annotated[
        str | None, typer.Option("-M", "--clusters", "--site", help="Only jobs at these sites.")
    ] = None,
    partitions: Annotated[
        str | None, typer.Option("-r", "--partition", help="Only jobs of these partitions.")
    ] = None,
    qos: Annotated[str | None, typer.Option("-q", "--qos", help="Only jobs of these QOS.")] = None,
    names: Annotated[
        str | None, typer.Option("--name", help="Only jobs that were given these names.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("-S", "--starttime", help="From this time: now-2days, midnight, 2026-01-31"),
    ] = None,
    end: Annotated[str | None, typer.Option("-E", "--endtime", help="Until this time.")] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "-s", "--state", help="Only jobs in these states: CD,F,TO,OOM,NF,CA,R,PD, or phases."
        ),
    ] = None,
    allocations: Annotated[
        bool, typer.Option("-X", "--allocations", help="Jobs alone, no containers or phases.")
    ] = False,
    truncate: Annotated[
        bool, typer.Option("-T", "--truncate", help="Cut Start and End to the times of -S and -E.")
    ] = False,
    fields: Annotated[
        str,
        typer.Option(
            "-o",
            "--format",
            envvar="CTSACCT_FORMAT",
            help="Fields, with %width: JobID%12,State%-9; or ALL",
        ),
    ] = USUAL,
    brief: Annotated[bool, typer.Option("-b", "--brief", help=f"The same as -o {BRIEF}.")] = False,
    long: Annotated[bool, typer.Option("-l", "--long", help="All fields.")] = False,
    noheader: Annotated[bool, typer.Option("-n", "--noheader", help="No line of titles.")] = False,
    parsable2: Annotated[
        bool, typer.Option("-P", "--parsable2", help="Fields with | between them.")
    ] = False,
    parsable: Annotated[
        bool, typer.Option("-p", "--parsable", help="The same, and a | at the end.")
    ] = False,
    delimiter: Annotated[
        str, typer.Option("--delimiter", help="In place of | with -p and -P.")
    ] = "|",
    units: Annotated[
        str | None, typer.Option("--units", help="Sizes in K, M, G, T or P (powers of 1024).")
    ] = None,
    noconvert: Annotated[
        bool, typer.Option("--noconvert", help="Sizes in bytes, in tables too.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Comma-separated values (RFC 4180), sizes in bytes.")
    ] = False,
    helpformat: Annotated[
        bool, typer.Option("-e", "--helpformat", help="List the fields.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Show accounting rows."""
    if helpformat:
        typer.echo(" ".join(NAMES))
        return
    columns = acct_fields.columns("all" if long else BRIEF if brief else fields)
    unit = acct_fields.unit_of(units)
    window = {"start": _when("-S", start), "end": _when("-E", end)}
    with connect(socket) as client:
        rows = client.accounting(
            user=_some(users),
            everyone=everyone,
            account=_some(accounts),
            cluster=_some(sites),
            partition=_some(partitions),
            qos=_some(qos),
            name=_some(names),
            **{name: time.isoformat() for name, time in window.items() if time is not None},
            state=states.accounted("-s", state) if state else None,
            job=every(jobs) if jobs else None,
        )
    if allocations:
        rows = [row for row in rows if "_" not in row.JobID]
    if truncate:
        rows = [_cut(row, **window) for row in rows]
    if as_json:
        text.print_json(rows)
        return
    titles = [column.field.name for column in columns]
    plain = parsable or parsable2 or as_csv or noconvert
    cells = [
        [acct_fields.shown(row, column.field, plain=plain, unit=unit) for column in columns]
        for row in rows
    ]
    lines = ([] if noheader else [titles]) + cells
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
    elif parsable or parsable2:
        for line in lines:
            typer.echo(
                delimiter.join(cell.replace(delimiter, "?") for cell in line)
                + (delimiter if parsable else "")
            )
    else:
        _aligned(columns, cells, header=not noheader)


def _some(given: str | None) -> list[str] | None:
    return listed(given) if given else None


def _when(option: str, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        return parse_time(given, datetime.now().astimezone())
    except ValueError as exc:
        common.fail(f"{option}: {exc}", common.BAD_INPUT)


def _cut(row: AcctRow, start: datetime | None, end: datetime | None) -> AcctRow:
    """Return a row whose Start and End, and the Elapsed between them, lie in a window."""
    first, last = row.Start, row.End
    if first is not None and start is not None:
        first = max(first, start)
    if last is not None and end is not None:
        last = min(last, end)
    if (first, last) == (row.Start, row.End):
        return row
    elapsed = row.Elapsed
    if first is not None and last is not None:
        elapsed = max(0.0, (last - first).total_seconds())
    return row.model_copy(update={"Start": first, "End": last, "Elapsed": elapsed})


def _aligned(columns: Sequence[Column], cells: list[list[str]], *, header: bool) -> None:
    titles = [column.field.name for column in columns]
    natural = [
        max([len(title), *(len(line[n]) for line in cells)]) for n, title in enumerate(titles)
    ]
    widths = [column.width for column in columns]
    dashes = ["-" * (abs(w) if w else n) for w, n in zip(widths, natural, strict=True)]
    for line in ([titles, dashes] if header else []) + cells:
        placed = []
        for cell, width, least in zip(line, widths, natural, strict=True):
            if width is None:
                placed.append(cell.ljust(least))
            else:
                cut = cell if len(cell) <= abs(width) else cell[: abs(width) - 1] + "+"
                placed.append(cut.ljust(-width) if width < 0 else cut.rjust(width))
        typer.echo(" ".join(placed).rstrip())


app = common.single(
    ctsacct,
    "Show what jobs, their containers (1234_0) and phases (1234_0.run) took. Times are [D-]HH:MM:SS; sizes have Slurm's "
    "letters, powers of 1024, but with -p, -P, --csv and --noconvert, and in JSON: there they are bytes, and in JSON times are seconds.",
    examples(
        "ctsacct -S midnight",
        "ctsacct -j 1234_0.run",
        "ctsacct -s F,TO,OOM -A myproject -S now-7days",
        "ctsacct -X -P -n -o JobID,State,Elapsed,MaxRSS -S now-7days",
    ),
)


def main() -> None:
    """Run the command line."""
    common.run(app)
