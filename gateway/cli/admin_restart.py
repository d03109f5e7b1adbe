"""cts admin job restart, cts admin job upload: a job that has failed is taken up again."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.refs import job_of
from gateway.cli.text import print_json

Id = Annotated[str, typer.Argument(metavar="ID", help="A job, such as 1234.")]


@command
def restart(job: Id, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Run again what is missing of a job in error: its containers that are not complete."""
    number = job_of(job, "cts admin job restart {job}")
    with connect(socket) as client:
        client.restart_job(number)
    if as_json:
        print_json({"restarted": number})


@command
def upload(job: Id, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Upload outputs of a job in error that did not get to S3 and were kept at the site; nothing is run again."""
    number = job_of(job, "cts admin job upload {job}")
    with connect(socket) as client:
        client.upload_job(number)
    if as_json:
        print_json({"uploading": number})


def add_to(app: typer.Typer) -> None:
    """Add these commands to those about jobs."""
    app.command("restart", epilog=examples("cts admin job restart 1234"))(restart)
    app.command("upload", epilog=examples("cts admin job upload 1234"))(upload)
