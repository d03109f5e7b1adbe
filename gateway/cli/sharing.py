"""cts share: who else may read a job."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.refs import job_of
from gateway.cli.text import clean, print_json

EXAMPLES = examples(
    "cts share 1234 --user bob --user carol",
    "cts share 1234 --group genomics",
    "cts share 1234 --nobody",
)


@command
def share(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job such as 1234.")],
    users: Annotated[
        list[str] | None, typer.Option("--user", help="A user; as often as needed.")
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="A group of users; as often as needed.")
    ] = None,
    nobody: Annotated[
        bool, typer.Option("--nobody", help="Share it with nobody any more.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Let these users and groups read a job, its logs and its accounting, and nobody else; they cannot cancel it."""
    if nobody == bool(users or groups):
        raise UserError(
            "say with whom: --user NAME, --group NAME, or --nobody to take all sharing back"
        )
    number = job_of(job, "cts share {job}")
    with connect(socket) as client:
        client.share(number, users=users or (), groups=groups or ())
        shared = client.job(number).shared_with
    if as_json:
        print_json(shared)
        return
    names = [f"user {name}" for name in shared.users] + [f"group {name}" for name in shared.groups]
    typer.echo(clean(f"job {number} is shared with {', '.join(names) or 'nobody'}"))
