"""cts watch: what happens to jobs, a line each, as it happens."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gateway.cli import common
from gateway.cli.common import SOCKET, Socket, UserError, command, connect, examples
from gateway.cli.refs import job_of
from gateway.cli.text import clean, local
from gateway.client import ENDED, Client
from gateway.wire import Event

EXAMPLES = examples(
    "cts watch", "cts watch 1234 1235", "cts watch --state complete --state error --json"
)


@command
def watch(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB...]", help="Jobs such as 1234. None: all of yours."),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only this state of the wire, or phase.")
    ] = None,
    containers: Annotated[
        bool, typer.Option("--containers", help="Also what happens to containers.")
    ] = False,
    everyone: Annotated[
        bool, typer.Option("-a", "--everyone", help="Everyone's jobs (admins).")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="EVENT", help="Begin after this event, 0: with the first."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each, for scripts.")
    ] = False,
    socket: Socket = SOCKET,
) -> None:
    """Print each change of a job's state as it happens: of all your jobs from now on, until you interrupt it; of the jobs that
    are named from their beginning to their end, with exit code 1 when one fails or is canceled.
    """
    if jobs and everyone:
        raise UserError("--everyone does not go with named jobs; give one of them")
    names = list(dict.fromkeys(job_of(text, "cts watch {job}") for text in jobs or ()))
    with connect(socket) as client:
        if names:
            common.leave(_named(client, names, state or [], containers, since, as_json=as_json))
            return
        for event in client.events(
            state=state, everyone=everyone, containers=containers, since=since
        ):
            _print(event, as_json=as_json)


def _named(
    client: Client,
    names: list[str],
    states: list[str],
    containers: bool,
    since: str | None,
    *,
    as_json: bool,
) -> int:
    """Print what happens to jobs until all of them have ended; returns the exit code."""
    running, worst = set(names), common.OK
    for event in client.events(job=names, containers=containers, since=since or "0"):
        if not states or event.state in states or event.phase in states:
            _print(event, as_json=as_json)
        if event.container is None and event.state in ENDED and event.job_id in running:
            now = client.status(event.job_id).state  # an admin may have had it go on
            if now in ENDED:
                running.discard(event.job_id)
                worst = max(worst, common.OK if now == "complete" else common.JOB_FAILED)
        if not running:
            break
    return worst


def _print(event: Event, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event.model_dump(mode="json")))
    else:
        name = event.job_id if event.container is None else f"{event.job_id}_{event.container}"
        note = f"  {event.detail}" if event.detail else ""
        typer.echo(
            clean(f"{local(event.time)}  {name:<10}  {event.state:<26}  {event.phase}{note}")
        )
    sys.stdout.flush()
