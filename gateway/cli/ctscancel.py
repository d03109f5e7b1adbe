"""ctscancel: cancel jobs, as scancel does."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import EXIT_CODES, SOCKET, Socket, command, connect


@command
def ctscancel(
    jobs: Annotated[list[str], typer.Argument(help="Jobs, such as 1234.")],
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
    socket: Socket = SOCKET,
) -> None:
    """Cancel jobs."""
    with connect(socket) as client:
        for job in jobs:
            if verbose:
                typer.echo(f"ctscancel: Terminating job {job}", err=True)
            client.cancel(job)


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=f"Cancel jobs.\n\n{EXIT_CODES}")(ctscancel)
    app()
