"""ctscancel: cancel jobs, as scancel does."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import SOCKET, Socket, command, connect, for_each, run_one
from gateway.client import Client


@command
def ctscancel(
    jobs: Annotated[list[str], typer.Argument(help="Jobs, such as 1234; 12,13 are two.")],
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
    socket: Socket = SOCKET,
) -> None:
    """Cancel jobs."""
    with connect(socket) as client:
        names = [name for text in jobs for name in text.split(",") if name]
        for_each(names, lambda name: _cancel(client, name, verbose))


def _cancel(client: Client, name: str, verbose: bool) -> None:
    client.cancel(name)
    if verbose:
        typer.echo(f"ctscancel: Terminating job {name}", err=True)


def main() -> None:
    """Run the command line."""
    run_one(ctscancel, "Cancel jobs.")
