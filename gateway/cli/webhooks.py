"""cts webhook and cts admin webhook: where events are sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway import wire
from gateway.cli import common
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.text import clean, local, print_json, table
from gateway.cli.tokens import write_secret

app = typer.Typer(
    help="URLs that are told of your jobs' states.", no_args_is_help=True, rich_markup_mode=None
)
admin = typer.Typer(help="Everybody's webhooks.", no_args_is_help=True, rich_markup_mode=None)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of webhooks, as listed.")]


@app.command(
    "add",
    epilog=examples(
        "cts webhook add https://hooks.example.org/cts -o ~/.config/cts/hook",
        "cts webhook add https://hooks.example.org/cts --state complete --state error",
    ),
)
@command
def add(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where to; https, at a host that the site allows.")],
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help="Only this state of the wire, or phase. Default: all"),
    ] = None,
    containers: Annotated[
        bool, typer.Option("--containers", help="Also what happens to containers.")
    ] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", help="Sign with the secret in this file: whsec_… . One is made without it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the secret into a file that you alone can read, and print none."),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:  # fmt: skip
    """Have a URL told of each change of your jobs' states from now on; prints the secret that it checks signatures with, this once."""
    secret = None if secret_file is None else _read(secret_file)
    with connect(socket) as client:
        made = client.add_webhook(target, states=state or (), containers=containers, secret=secret)
        if output is not None:
            try:
                write_secret(output, made.secret)
            except OSError as exc:
                client.delete_webhook(made.id)
                raise UserError(
                    f"cannot write {output}: {exc.strerror}; the webhook was removed"
                ) from exc
    hidden = output is not None or secret is not None
    if as_json:
        print_json(made.model_dump(mode="json", exclude={"secret"} if hidden else set()))
    elif not hidden:
        typer.echo(clean(made.secret))
    where = f"in {output}" if output is not None else "the one you gave" if secret else "shown this once"  # fmt: skip
    typer.echo(clean(f"webhook {made.id} to {made.url}; its secret: {where}"), err=True)


@app.command("list", epilog=examples("cts webhook list", "cts webhook list --json"))
@command
def listed(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List your webhooks and how they are."""
    with connect(socket) as client:
        _show(client.webhooks(), as_json=as_json)


@app.command("test", epilog=examples("cts webhook test 7"))
@command
def try_one(
    webhook: Annotated[str, typer.Argument(metavar="ID", help="A webhook, as listed.")],
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Send a test event now; exit code 1 when it does not arrive. A webhook that was disabled goes on when it does."""
    with connect(socket) as client:
        found = client.test_webhook(webhook)
    if as_json:
        print_json(found)
    elif found.delivered:
        typer.echo("delivered")
    if not found.delivered:
        common.fail(f"webhook {webhook}: {found.error}", common.JOB_FAILED)


@app.command("delete", epilog=examples("cts webhook delete 7"))
@command
def delete(ids: Ids, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Remove webhooks of yours."""
    _delete(socket, ids, anybodys=False, as_json=as_json)


@admin.command("list", epilog=examples("cts admin webhook list"))
@command
def everybodys(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List all webhooks, those of the configuration and Kafka among them."""
    with connect(socket) as client:
        _show(client.webhooks(everyone=True), as_json=as_json)


@admin.command("delete", epilog=examples("cts admin webhook delete 7"))
@command
def delete_anybodys(ids: Ids, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Remove anybody's webhooks."""
    _delete(socket, ids, anybodys=True, as_json=as_json)


def _delete(socket: str, ids: list[str], *, anybodys: bool, as_json: bool) -> None:
    with connect(socket) as client:
        done, worst = common.for_each(
            ids, lambda text: client.delete_webhook(text, anybodys=anybodys)
        )
    if as_json:
        print_json({"deleted": done})
    common.leave(worst)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise UserError(f"cannot read {path}: {exc}") from exc


def _show(found: Sequence[wire.Webhook], *, as_json: bool) -> None:
    if as_json:
        print_json(list(found))
        return
    table(
        ("ID", "USER", "STATE", "LAST SUCCESS", "STATES", "URL", "NOTE"),
        [
            (
                hook.id,
                hook.user or f"({hook.name})",
                hook.state,
                local(hook.last_success) if hook.last_success else "never",
                ",".join(hook.states) or "all",
                hook.url,
                hook.last_error if hook.state != "active" else "",
            )
            for hook in found
        ],
    )
