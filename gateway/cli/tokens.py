"""cts token and cts admin token: the bearer tokens that stand for a user where the Unix socket does not reach."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from gateway import wire
from gateway.cli import common
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.text import clean, local, print_json, table

app = typer.Typer(help="Tokens, for use with --url.", no_args_is_help=True, rich_markup_mode=None)
admin = typer.Typer(help="Everybody's tokens.", no_args_is_help=True, rich_markup_mode=None)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TIME = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)

Name = Annotated[str | None, typer.Option("--name", help="What it is for, shown in lists.")]
Expires = Annotated[
    str | None,
    typer.Option("--expires", help="How long it works: 12h, 30d, 8w. Default: 30d"),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Write it into a file that you alone can read, and print nothing."
    ),
]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tokens, as listed.")]


@app.command(
    "create",
    epilog=examples(
        "cts token create -o ~/.config/cts/token",
        "cts token create --name laptop --expires 90d",
    ),
)
@command
def create(
    name: Name = None,
    expires: Expires = None,
    user: Annotated[
        str | None, typer.Option("-u", "--user", help="For this user (others': admins).")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Make a token and print it, this once. Over the Unix socket alone: a token makes no tokens."""
    _create(socket, name, expires, user, output, as_json=as_json)


@app.command("list", epilog=examples("cts token list", "cts token list --json"))
@command
def listed(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List your tokens, the newest first, for 90 days also those that do not work any more."""
    with connect(socket) as client:
        _show(client.tokens(), as_json=as_json)


@app.command("revoke", epilog=examples("cts token revoke 1f00a4c79be2"))
@command
def revoke(ids: Ids, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """End tokens of yours at once."""
    _revoke(socket, ids, anybodys=False, as_json=as_json)


@admin.command("create", epilog=examples("cts admin token create alice --expires 7d"))
@command
def create_for(
    user: Annotated[str, typer.Argument(help="Whose it shall be.")],
    name: Name = None,
    expires: Expires = None,
    output: Output = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Make a token for a user, also one whom the gateway's machine does not know."""
    _create(socket, name, expires, user, output, as_json=as_json)


@admin.command("list", epilog=examples("cts admin token list", "cts admin token list -u alice"))
@command
def everybodys(
    user: Annotated[str | None, typer.Option("-u", "--user", help="Only this user's.")] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List everybody's tokens, the newest first."""
    with connect(socket) as client:
        _show(client.tokens(user=user, everyone=user is None), as_json=as_json)


@admin.command("revoke", epilog=examples("cts admin token revoke 1f00a4c79be2"))
@command
def revoke_anybodys(ids: Ids, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """End anybody's tokens at once."""
    _revoke(socket, ids, anybodys=True, as_json=as_json)


def _create(
    socket: str,
    name: str | None,
    expires: str | None,
    user: str | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    seconds = None if expires is None else _seconds(expires)
    with connect(socket) as client:
        made = client.create_token(name=name, expires_in=seconds, user=user)
        if output is not None:
            try:
                write_secret(output, made.token)
            except OSError as exc:
                client.revoke_token(made.id, anybodys=user is not None)
                raise UserError(
                    f"cannot write {output}: {exc.strerror}; the token was revoked"
                ) from exc
    if as_json:
        shown = made.model_dump(mode="json", exclude={"token"} if output is not None else set())
        print_json(shown)
    elif output is None:
        typer.echo(clean(made.token))
    where = f"in {output}" if output is not None else "shown this once"
    typer.echo(
        clean(f"token {made.id} of {made.user}, {where}; it works until {local(made.expires)}"),
        err=True,
    )


def _revoke(socket: str, ids: list[str], *, anybodys: bool, as_json: bool) -> None:
    with connect(socket) as client:
        done, worst = common.for_each(
            ids, lambda text: client.revoke_token(text, anybodys=anybodys)
        )
    if as_json:
        print_json({"revoked": [text.removeprefix("cts_")[:12] for text in done]})
    common.leave(worst)


def _show(tokens: list[wire.Token], *, as_json: bool) -> None:
    if as_json:
        print_json(tokens)
        return
    table(
        ("ID", "USER", "STATE", "CREATED", "EXPIRES", "LAST USED", "NAME"),
        [
            (
                token.id,
                token.user,
                token.state,
                local(token.created),
                local(token.expires),
                local(token.last_used, "minutes") if token.last_used else "never",
                token.name,
            )
            for token in tokens
        ],
    )


def _seconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise UserError(
            f"--expires {text}: a number and its unit are needed, such as 12h, 30d or 8w"
        )
    return int(match[1]) * _UNITS[match[2]]


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all; its directory is made so, too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, part = tempfile.mkstemp(prefix=".", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f"{text}\n")
        Path(part).replace(path)
    except OSError:
        with suppress(OSError):
            Path(part).unlink()
        raise
