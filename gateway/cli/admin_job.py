"""cts admin job: what only admins do with a job."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli import common
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.refs import job_of, ref_of
from gateway.cli.show import whole_job
from gateway.cli.text import clean, fields, local, print_json, table
from gateway.wire import AdminJob

app = typer.Typer(help="Any job.", no_args_is_help=True, rich_markup_mode=None)

Job = Annotated[str, typer.Argument(metavar="JOB", help="A job such as 1234.")]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Jobs such as 1234.")]


@app.command("show", epilog=examples("cts admin job show 1234", "cts admin job show 1234 --json"))
@command
def show(job: Job, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show all of a job, with its Slurm submissions and what of it is still at its site."""
    number = job_of(job, "cts admin job show {job}")
    with connect(socket) as client:
        found = client.admin_job(number)
        if as_json:
            print_json(found)
            return
        whole_job(found, client.containers(found.id))
    _more(found)


@app.command(
    "runner-status",
    epilog=examples("cts admin job runner-status 1234", "cts admin job runner-status 1234_7"),
)
@command
def runner_status(
    job: Annotated[
        str, typer.Argument(metavar="ID", help="A job 1234, or a container of it 1234_7.")
    ],
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Print what Slurm says of a job or a container now, as it says it: JSON of squeue and of sacct."""
    ref = ref_of(job)
    with connect(socket) as client:
        found = client.runner_status(str(ref.job_id), ref.container)
    if as_json:
        print_json(found)
        return
    fields([("Site", found.cluster), ("SlurmID", ", ".join(found.slurm_jobs) or "none yet")])
    for title, said, error in (
        ("squeue", found.controller, found.controller_error),
        ("sacct", found.accounting, found.accounting_error),
    ):
        typer.echo(f"\n{title}")
        typer.echo(json.dumps(said, indent=1) if error is None else clean(error))


@app.command(
    "meta",
    epilog=examples(
        "cts admin job meta 1234 ticket=HPC-77 checked=true", "cts admin job meta 1234 --unset old"
    ),
)
@command
def meta(
    job: Job,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE...]", help="What to note. A number, true or false is one."
        ),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="KEY", help="Forget this key.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Note things in a job's admin_meta, which its user sees, too."""
    number = job_of(job, "cts admin job meta {job}")
    with connect(socket) as client:
        client.set_meta(number, dict(_pair(text) for text in values or ()), unset or ())
        if as_json:
            print_json(client.status(number).admin_meta)


@app.command(
    "clean", epilog=examples("cts admin job clean 1234", "cts admin job clean 1234 --force")
)
@command
def remove(
    jobs: Jobs,
    force: Annotated[
        bool,
        typer.Option("--force", help="Cancel those that run; do not wait for logs to be in S3."),
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Remove the directories of jobs from their sites, logs and all."""
    with connect(socket) as client:
        done, worst = common.for_each(
            jobs,
            lambda text: client.clean_job(job_of(text, "cts admin job clean {job}"), force=force),
        )
    if as_json:
        print_json({"cleaned": done})
    common.leave(worst)


@app.command(
    "notify",
    epilog=examples("cts admin job notify 1234", "cts admin job notify 1234 --state complete"),
)
@command
def notify(
    job: Job,
    state: Annotated[
        str | None, typer.Option("--state", help="The state or phase whose event is sent.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Send the event of a job's state, the last one by default, to webhooks and Kafka once more."""
    number = job_of(job, "cts admin job notify {job}")
    with connect(socket) as client:
        client.notify_job(number, state)
    if as_json:
        print_json({"notified": number})


def _pair(text: str) -> tuple[str, str | int | float | bool]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UserError(f"{text}: write it as KEY=VALUE")
    try:
        read = json.loads(value)
    except ValueError:
        return key, value
    return key, read if isinstance(read, bool | int | float) else value


def _more(job: AdminJob) -> None:
    typer.echo("\nSubmissions")
    table(
        ("NUMBER", "CONTAINERS", "PER TASK", "STATE", "ATTEMPTS", "SLURMID", "SUBMITTED", "TAG"),
        [
            (
                each.number,
                len(each.containers),
                each.per_task,
                each.state,
                each.attempts,
                each.slurm_job_id,
                local(each.submitted) if each.submitted else "",
                each.tag,
            )
            for each in job.submissions
        ],
    )
    typer.echo("\nAt the site")
    gone = "logs and all" if job.logs_cleaned else "all but its logs" if job.cleaned else None
    stored = local(job.logs_stored) if job.logs_stored else None
    fields(
        [
            ("Directory", job.directory),
            ("Removed", gone),
            ("Stored", f"logs, {stored}" if stored else None),
            ("Canceled", f"by {job.cancel_by}" if job.cancel_by else None),
        ]
    )
    for key, value in sorted(job.admin_meta.items()):
        typer.echo(clean(f"Meta      {key} = {json.dumps(value)}"))
