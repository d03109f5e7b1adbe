"""cts refdata, cts admin refdata: reference data and its state at each site."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import wire
from gateway.cli.common import SOCKET, AsJson, SiteName, Socket, command, connect, examples
from gateway.cli.text import clean, fields, local, print_json, size, table

EXAMPLES = examples(
    "cts refdata", "cts refdata 3", "cts refdata reference-data/gtdb-r220.tar.gz --json"
)
app = typer.Typer(
    help="Reference data that images have at each site.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Reference data; see cts refdata.")]


@command
def refdata(
    which: Annotated[
        str | None,
        typer.Argument(metavar="[ID|PATH]", help="One, or the registrations of a bucket/key."),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List the reference data and its state at each site, or show one whole."""
    with connect(socket) as client:
        if which is None:
            found = client.refdata()
        elif "/" in which:
            found = client.refdata_by_path(which)
        else:
            one = client.refdata_by_id(which)
            if as_json:
                print_json(one)
            else:
                show(one)
            return
    if as_json:
        print_json(found)
        return
    rows = []
    for item in found:
        states: list[tuple[str, str]] = [(at.cluster, at.state) for at in item.statuses]
        rows += [(item.id, *at, size(item.size), item.file) for at in states or [("", "")]]
    table(("ID", "SITE", "STATE", "SIZE", "FILE"), rows)


@app.command(
    "register",
    epilog=examples(
        "cts admin refdata register reference-data/gtdb-r220.tar.gz --unpack",
        "cts admin refdata register reference-data/genome.fa --crc64nvme AAAAAAAAAAA=",
    ),
)
@command
def register(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An object: bucket/key.")],
    unpack: Annotated[
        bool,
        typer.Option("--unpack", help="Unpack it: .tar, .tar.gz, .tgz, .tar.zst, .zip, .gz."),
    ] = False,
    crc64nvme: Annotated[
        str | None, typer.Option(help="The CRC64NVME that it must have, in base64.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the same content is registered already.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Register an object as reference data; its id is printed, and each active site stages it."""
    with connect(socket) as client:
        made = client.register_refdata(path, crc64nvme=crc64nvme, unpack=unpack, force=force)
    if as_json:
        print_json(made)
        return
    typer.echo(clean(made.id))


@app.command("recover", epilog=examples("cts admin refdata recover 3 dev"))
@command
def recover(
    refdata_id: Id, site: SiteName, as_json: AsJson = False, socket: Socket = SOCKET
) -> None:
    """Have a site stage data again, where that failed or where it was cleaned."""
    with connect(socket) as client:
        client.recover_refdata(refdata_id, site)
    if as_json:
        print_json({"recovered": refdata_id, "cluster": site})


@app.command("clean", epilog=examples("cts admin refdata clean 3 dev"))
@command
def remove(
    refdata_id: Id,
    site: SiteName,
    force: Annotated[
        bool, typer.Option("--force", help="Also while jobs need it; those that run fail.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Remove data from a site's disk. The registration stays, and recover stages it again."""
    with connect(socket) as client:
        client.clean_refdata(refdata_id, site, force=force)
    if as_json:
        print_json({"cleaned": refdata_id, "cluster": site})


def show(item: wire.Refdata) -> None:
    """Print one, with its history at each site."""
    fields(
        [
            ("id", item.id),
            ("file", item.file),
            ("size", item.size),
            ("etag", item.etag),
            ("crc64nvme", item.crc64nvme),
            ("unpack", "yes" if item.unpack else "no"),
            ("by", f"{item.registered_by}, {local(item.registered_on)}"),
        ]
    )
    for at in item.statuses:
        typer.echo(clean(f"at {at.cluster}: {at.state}"))
        for step in at.transition_times:
            typer.echo(clean(f"  {local(step.time)} {step.state}"))
        for title, value in (
            ("job", at.job_id),
            ("reason", at.reason),
            ("error", at.error),
            ("unpacked", at.unpacked_bytes),
        ):
            if value is not None:
                typer.echo(clean(f"  {title}: {value}"))
