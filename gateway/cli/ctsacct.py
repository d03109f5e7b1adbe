"""ctsacct: the accounting of jobs, containers and phases, with sacct's habits."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import typer

from gateway.cli import common, states, text
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.refs import listed, ref_of
from gateway.cli.slurmtime import parse_time
from gateway.wire import AcctRow

_DEFAULT = "JobID,JobName,User,Site,State,ExitCode,Elapsed,StageIn,StageOut,InBytes,OutBytes,MaxRSS,SlurmID"
_SECONDS = ("Elapsed", "QueueWait", "StageIn", "StageOut", "TotalCPU")
_BYTES = ("ReqMem", "MaxRSS", "InBytes", "OutBytes")
_COLUMN = re.compile(r"([A-Za-z]+)(?:%(-?[1-9][0-9]{0,2}))?", re.ASCII)
_FIELDS = {name.lower(): name for name in AcctRow.model_fields}


@command
def ctsacct(
    jobs: Annotated[
        str | None,
        typer.Option("-j", "--jobs", help="Jobs, containers or phases: 12,13_0,14_0.run"),
    ] = None,
    users: Annotated[
        str | None, typer.Option("-u", "--user", help="These users' (others': admins).")
    ] = None,
    everyone: Annotated[
        bool, typer.Option("-a", "--allusers", help="Everyone's (admins).")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("-S", "--starttime", help="From this time: now-2days, midnight, 2026-01-31"),
    ] = None,
    end: Annotated[str | None, typer.Option("-E", "--endtime", help="Until this time.")] = None,
    state: Annotated[
        str | None,
        typer.Option("-s", "--state", help="Only jobs in these states: CD,F,CA,R,PD, or phases."),
    ] = None,
    allocations: Annotated[
        bool, typer.Option("-X", "--allocations", help="Jobs alone, no containers or phases.")
    ] = False,
    fields: Annotated[
        str, typer.Option("-o", "--format", help="Fields, with %width: JobID%12,State%-9; or ALL")
    ] = _DEFAULT,
    long: Annotated[bool, typer.Option("-l", "--long", help="All fields.")] = False,
    noheader: Annotated[bool, typer.Option("-n", "--noheader", help="No line of titles.")] = False,
    parsable2: Annotated[
        bool, typer.Option("-P", "--parsable2", help="Fields with | between them.")
    ] = False,
    parsable: Annotated[
        bool, typer.Option("-p", "--parsable", help="The same, and a | at the end.")
    ] = False,
    helpformat: Annotated[
        bool, typer.Option("-e", "--helpformat", help="List the fields.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Show accounting rows."""
    if helpformat:
        typer.echo(" ".join(AcctRow.model_fields))
        return
    columns = _columns("all" if long else fields)
    with connect(socket) as client:
        rows = client.accounting(
            user=listed(users) if users else None,
            everyone=everyone,
            start=_when("-S", start),
            end=_when("-E", end),
            state=states.phases("-s", state) if state else None,
            job=[str(ref_of(name)) for name in listed(jobs)] if jobs else None,
        )
    if allocations:
        rows = [row for row in rows if "_" not in row.JobID]
    if as_json:
        text.print_json(rows)
        return
    cells = [[_cell(row, name, raw=parsable or parsable2) for name, _ in columns] for row in rows]
    titles = [name for name, _ in columns]
    if parsable or parsable2:
        for line in ([] if noheader else [titles]) + cells:
            typer.echo("|".join(line) + ("|" if parsable else ""))
        return
    _aligned(titles, cells, [width for _, width in columns], header=not noheader)


def _columns(wanted: str) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    for part in (part.strip() for part in wanted.split(",")):
        if part.lower() == "all":
            found += [(name, None) for name in AcctRow.model_fields]
            continue
        match = _COLUMN.fullmatch(part)
        known = _FIELDS.get(match[1].lower()) if match else None
        if match is None or known is None:
            common.fail(
                f"-o: there is no field {part!r}; a field is a name and possibly %width (JobID%12); the names are: "
                f"{' '.join(AcctRow.model_fields)}",
                common.BAD_INPUT,
            )
        found.append((known, int(match[2]) if match[2] else None))
    return found


def _when(option: str, given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return parse_time(given, datetime.now().astimezone()).isoformat()
    except ValueError as exc:
        common.fail(f"{option}: {exc}", common.BAD_INPUT)


def _cell(row: AcctRow, name: str, *, raw: bool) -> str:
    value = getattr(row, name)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return text.local(value)
    if name in _SECONDS:
        return text.duration(value)
    if name in _BYTES and not raw:
        return text.size(value)
    return (
        f"{value:.2f}"
        if isinstance(value, float)
        else text.clean(value).replace("|", "?" if raw else "|")
    )


def _aligned(
    titles: list[str], cells: list[list[str]], widths: list[int | None], *, header: bool
) -> None:
    natural = [
        max([len(title), *(len(line[n]) for line in cells)]) for n, title in enumerate(titles)
    ]
    lines = (
        [titles, ["-" * (abs(w) if w else n) for w, n in zip(widths, natural, strict=True)]]
        if header
        else []
    ) + cells
    for line in lines:
        shown = []
        for cell, width, least in zip(line, widths, natural, strict=True):
            if width is None:
                shown.append(cell.ljust(least))
            else:
                cut = cell if len(cell) <= abs(width) else cell[: abs(width) - 1] + "+"
                shown.append(cut.ljust(-width) if width < 0 else cut.rjust(width))
        typer.echo(" ".join(shown).rstrip())


app = common.single(
    ctsacct,
    "Show what jobs, their containers (1234_0) and phases (1234_0.run) took. Times are [D-]HH:MM:SS; sizes have Slurm's "
    "letters, powers of 1024, but with -p and -P, and in JSON: there they are bytes, and in JSON times are seconds.",
    examples(
        "ctsacct -S midnight",
        "ctsacct -j 1234_0.run",
        "ctsacct -X -P -n -o JobID,State,Elapsed,MaxRSS -S now-7days",
    ),
)


def main() -> None:
    """Run the command line."""
    common.run(app)
