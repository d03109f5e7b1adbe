"""cts put, cts get: files into S3 and out of it, without any S3 key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from gateway.cli.common import JOB_FAILED, SOCKET, AsJson, Socket, UserError, command, connect
from gateway.cli.common import examples as _examples
from gateway.cli.refs import job_of
from gateway.cli.text import clean, print_json
from gateway.client import TransferError
from gateway.client.transfer import OnBytes

PUT_EXAMPLES = _examples(
    "cts put sample.fastq.gz my-bucket/reads", "cts put reads/ notes.txt my-bucket/run-7"
)
GET_EXAMPLES = _examples("cts get 1234", "cts get 1234 results --match '*.tsv'")


@command
def put(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and directories.")],
    target: Annotated[
        str, typer.Argument(metavar="BUCKET/PREFIX", help="Where they go in the object store.")
    ],
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Upload files; the objects are printed, as a job takes them for input_files.

    A directory goes there under its name, as with cp -r; what is in "." goes right below BUCKET/PREFIX. What is there with
    the same bytes is left, so that a broken upload goes on; with other bytes it is replaced. Checksums are compared.
    """
    with connect(socket) as client, _bar("put", shown=not as_json) as on_bytes, _told():
        found = client.upload(list(paths), target, on_bytes=on_bytes)
    if as_json:
        print_json(found)
        return
    for one in found:
        typer.echo(clean(one.file))


@command
def get(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job such as 1234.")],
    directory: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where to; made where it is not there.")
    ] = ".",
    match: Annotated[
        list[str] | None,
        typer.Option(
            help="Only outputs like this pattern, as of the shell: '*.txt'. May be given again."
        ),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Download the outputs of a job, by their names below its output_dir; the files are printed.

    A file has its name only when it is whole and its checksum is right. One that is there with the same bytes is left, so
    that a broken download goes on; with other bytes it is replaced.
    """
    wanted = job_of(job, "cts get {job}")
    with connect(socket) as client, _bar("get", shown=not as_json) as on_bytes, _told():
        found = client.download(wanted, directory, match=match or (), on_bytes=on_bytes)
    if as_json:
        print_json([str(path) for path in found])
        return
    for path in found:
        typer.echo(clean(path))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TransferError as exc:
        raise UserError(str(exc), JOB_FAILED) from exc


@contextmanager
def _bar(doing: str, *, shown: bool) -> Iterator[OnBytes | None]:
    """Show a bar of the bytes on standard error, where that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    # Only where there is a terminal: it is slow to import.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
