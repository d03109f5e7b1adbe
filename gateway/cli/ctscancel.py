"""ctscancel: cancel jobs, as scancel does."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import common
from gateway.cli.common import SOCKET, Socket, command, connect, examples
from gateway.cli.refs import job_of, listed
from gateway.client import Client


@command
def ctscancel(
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB...", help="Jobs such as 1234, whole ones; 12,13 are two."),
    ],
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is done.")] = False,
    socket: Socket = SOCKET,
) -> None:
    """Cancel jobs."""
    names = [name for text in jobs for name in listed(text)]
    with connect(socket) as client:
        _, worst = common.for_each(names, lambda name: _cancel(client, name, verbose))
    common.leave(worst)


def _cancel(client: Client, name: str, verbose: bool) -> None:
    client.cancel(job_of(name, "ctscancel {job}"))
    if verbose:
        typer.echo(f"ctscancel: Terminating job {name}", err=True)


app = common.single(
    ctscancel,
    "Cancel jobs, all containers of each: a single container, which scancel would take, is refused (exit code 2). "
    "One that is refused does not keep the others from being canceled.",
    examples("ctscancel 1234", "ctscancel -v 1234,1235"),
)


def main() -> None:
    """Run the command line."""
    common.run(app)
