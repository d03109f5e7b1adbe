"""cts request, cts requests, cts admin request: what users ask the admins for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from gateway import wire
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.images import From, MountPoint, Refdata, Stage, Urls, UsageNotes
from gateway.cli.text import clean, local, print_json, table

MINE_EXAMPLES = examples("cts requests", "cts requests --state pending --json")
ALL_EXAMPLES = examples("cts admin requests --state pending", "cts admin requests -u alice")
app = typer.Typer(
    help="Ask the admins for an image or reference data.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
admin = typer.Typer(help="Answer what users ask for.", no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="A request; see cts admin requests.")]
Note = Annotated[str | None, typer.Option("--note", help="What it is for; admins read it.")]
State = Annotated[
    str | None, typer.Option(help="Only requests in this state: pending, approved, declined.")
]


@app.command(
    "image",
    epilog=examples("cts request image ghcr.io/kbase/checkm2:1.0.2 --note 'for the new bins'"),
)
@command
def request_image(
    name: Annotated[str, typer.Argument(help="An image, by tag or digest.")],
    note: Note = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Ask the admins to approve an image; the request's id is printed. Asking twice makes no second request."""
    with connect(socket) as client:
        _made(client.request_image(name, note=note), as_json=as_json)


@app.command(
    "refdata", epilog=examples("cts request refdata reference-data/gtdb-r220.tar.gz --unpack")
)
@command
def request_refdata(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An object: bucket/key.")],
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Unpack it: .tar, .tar.gz, .tgz, .tar.zst, .zip, .gz.")
    ] = False,
    note: Note = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Ask the admins to register an object as reference data; the request's id is printed."""
    with connect(socket) as client:
        _made(client.request_refdata(path, unpack=unpack, note=note), as_json=as_json)


@command
def requests(state: State = None, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List what you have asked the admins for, the newest first, with their answers."""
    with connect(socket) as client:
        _list(client.requests(state=state), as_json=as_json)


@command
def all_requests(
    user: Annotated[str | None, typer.Option("-u", "--user", help="Only this user's.")] = None,
    state: State = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List what users ask for, the newest first."""
    with connect(socket) as client:
        _list(client.requests(state=state, user=user, everyone=True), as_json=as_json)


@admin.command(
    "approve",
    epilog=examples("cts admin request approve 7", "cts admin request approve 7 --stage"),
)
@command
def approve(
    request_id: Id,
    answer: Annotated[str | None, typer.Option("--answer", help="A word to the user.")] = None,
    refdata_id: Refdata = None,
    mount_point: MountPoint = None,
    urls: Urls = None,
    usage_notes: UsageNotes = None,
    from_image: From = None,
    stage: Stage = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Approve the image, or register the object, that a request is for; what came of it is printed."""
    with connect(socket) as client:
        done = client.approve_request(
            request_id,
            answer=answer,
            refdata_id=refdata_id,
            default_refdata_mount_point=mount_point,
            urls=urls,
            usage_notes=usage_notes,
            from_image=from_image,
            stage=stage,
        )
    if as_json:
        print_json(done)
        return
    typer.echo(clean(done.result))


@admin.command("decline", epilog=examples("cts admin request decline 7 --reason 'use 1.0.1'"))
@command
def decline(
    request_id: Id,
    reason: Annotated[str, typer.Option("--reason", help="What the user is told. Required.")],
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Decline a request."""
    with connect(socket) as client:
        done = client.decline_request(request_id, reason)
    if as_json:
        print_json(done)


def _made(made: wire.Request, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(clean(made.id))


def _list(found: Sequence[wire.Request], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    table(
        ("ID", "USER", "KIND", "TARGET", "STATE", "ASKED", "NOTE", "ANSWER"),
        [
            (
                *(r.id, r.user, r.kind, f"{r.target}{' (unpacked)' if r.unpack else ''}", r.state),
                *(local(r.created), r.note or "", r.answer or r.result or ""),
            )
            for r in found
        ],
    )
