"""cts: submit jobs, look at them, read their logs."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from gateway.cli import common
from gateway.cli.common import (
    SOCKET,
    AsJson,
    Socket,
    command,
    connect,
    print_json,
    table,
    write_log,
)
from gateway.cli.jobfile import read_job
from gateway.cli.show import job_list as show_jobs
from gateway.cli.show import one_container, whole_job
from gateway.client import Client
from gateway.errors import GatewayError
from gateway.ids import JobRef, parse_ref
from gateway.wire import JobPreview, JobStatus

app = common.new_app("Run container jobs from S3 to S3 on Slurm.", no_args_is_help=True)
admin = typer.Typer(help="For admins.", no_args_is_help=True, rich_markup_mode=None)
admin_image = typer.Typer(
    help="Which images jobs may use.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(admin, name="admin")
admin.add_typer(admin_image, name="image")

JobArgument = Annotated[
    str, typer.Argument(help="A job, such as 1234, or one of its containers, 1234_0.")
]
JobsArgument = Annotated[list[str], typer.Argument(help="Jobs, such as 1234.")]


@app.command()
@command
def submit(
    file: Annotated[str, typer.Argument(help="The job as JSON or YAML; - for standard input.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the job's end; exit code 1 when it fails.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Submit a job; its id alone is printed."""
    job = read_job(file)
    with connect(socket) as client:
        job_id = client.submit(job)
        if as_json and not wait:
            print_json({"job_id": job_id})
        elif not as_json:
            typer.echo(job_id)
            sys.stdout.flush()
        if wait:
            _finish(client, [job_id], None, as_json)


@app.command()
@command
def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Only jobs of this site.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 100,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List your jobs, the last updated first."""
    with connect(socket) as client:
        _list(client.jobs(state=state, cluster=cluster, limit=limit), as_json)


def _list(found: list[JobPreview], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        show_jobs(found)


@app.command()
@command
def show(job: JobArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show all of a job, or one container of it."""
    ref = _ref(job)
    with connect(socket) as client:
        if ref.container is not None:
            found = [c for c in client.containers(str(ref.job_id)) if c.index == ref.container]
            if not found:
                common.fail(
                    f"job {ref.job_id} has no container {ref.container}; they count from 0 (appcode 40050)",
                    common.NO_SUCH,
                )
            if as_json:
                print_json(found[0])
            else:
                one_container(found[0])
            return
        full = client.job(job)
        if as_json:
            print_json(full)
        else:
            whole_job(full, client.containers(job))


@app.command()
@command
def logs(
    job: JobArgument,
    container: Annotated[
        int | None, typer.Option("-c", "--container", help="Which container.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on as it grows, until the container's end.")
    ] = False,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="Standard error instead of standard output.")
    ] = False,
    socket: Socket = SOCKET,
) -> None:
    """Print the log of a container (of container 0 where none is named)."""
    ref = _ref(job)
    number = container if container is not None else ref.container or 0
    stream = "stderr" if stderr else "stdout"
    with connect(socket) as client:
        if follow:
            for piece in client.follow_log(str(ref.job_id), number, stream):
                write_log(piece)
            return
        seek = 0
        while True:
            piece, _ = client.log(str(ref.job_id), number, stream, seek, 1 << 20)
            if not piece:
                return
            write_log(piece)
            seek += len(piece)


@app.command()
@command
def cancel(jobs: JobsArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Cancel jobs."""
    with connect(socket) as client:
        common.for_each(jobs, client.cancel)
    if as_json:
        print_json({"canceled": jobs})


@app.command()
@command
def wait(
    jobs: JobsArgument,
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Wait for the end of jobs; exit code 1 when one of them fails or is canceled."""
    with connect(socket) as client:
        _finish(client, jobs, timeout, as_json)


def _finish(client: Client, jobs: list[str], timeout: float | None, as_json: bool) -> None:
    live = sys.stderr.isatty()

    def say(status: JobStatus) -> None:
        if live:
            note = f": {common.clean(status.reason)}" if status.reason else ""
            typer.echo(
                f"{datetime.now():%H:%M:%S} {status.id} {common.clean(status.phase)}{note}",
                err=True,
            )

    ended = []
    for job in jobs:
        try:
            ended.append(client.wait(job, timeout, say))
        except TimeoutError as exc:
            common.fail(str(exc), common.JOB_FAILED)
    if as_json:
        print_json([client.job(status.id) for status in ended])
    bad = [status for status in ended if status.state != "complete"]
    for status in bad:
        error = client.job(status.id).error
        typer.echo(
            f"job {status.id} is {status.state}{f': {common.clean(error)}' if error else ''}",
            err=True,
        )
    if bad:
        raise typer.Exit(common.JOB_FAILED)


@app.command()
@command
def images(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List the approved images."""
    with connect(socket) as client:
        found = client.images()
    if as_json:
        print_json(found)
        return
    table(
        ("NAME", "TAG", "DIGEST", "ENTRYPOINT", "BY"),
        [(i.name, i.tag, i.digest, " ".join(i.entrypoint), i.registered_by) for i in found],
    )


@app.command()
@command
def sites(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List the sites."""
    with connect(socket) as client:
        found = client.sites()
    if as_json:
        print_json(found)
        return
    table(
        ("SITE", "STATE", "NODES", "CPUS/NODE", "GB/NODE", "MAX MINUTES", "NOTE"),
        [
            (
                s.cluster,
                "up" if s.available else "down",
                s.nodes,
                s.cpus_per_node,
                s.memory_per_node_gb,
                s.max_runtime_min,
                s.unavailable_reason or "",
            )
            for s in found
        ],
    )


@app.command()
@command
def whoami(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show who you are to the gateway."""
    with connect(socket) as client:
        me = client.whoami()
    if as_json:
        print_json(me)
        return
    typer.echo(common.clean(f"{me.user} ({', '.join(me.roles)})"))
    for path in me.allowed_paths:
        typer.echo(f"  {path.perm:<5} {common.clean(path.path)}")


@app.command()
@command
def script(job: JobArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Print the batch script that was submitted for a job."""
    with connect(socket) as client:
        scripts = client.script(job)
    if as_json:
        print_json(scripts)
        return
    for text in scripts:
        typer.echo("\n".join(common.clean(line) for line in text.split("\n")), nl=False)


@admin_image.command("approve")
@command
def approve(
    name: Annotated[str, typer.Argument(help="An image, by tag or digest.")],
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Look an image up in its registry and let jobs use what it is now."""
    with connect(socket) as client:
        image = client.approve_image(name)
    if as_json:
        print_json(image)
        return
    tag = f":{image.tag}" if image.tag else ""
    typer.echo(common.clean(f"{image.name}{tag} is {image.digest}"))


@admin.command("jobs")
@command
def admin_jobs(
    user: Annotated[str | None, typer.Option("-u", "--user", help="Only this user's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List everyone's jobs."""
    with connect(socket) as client:
        _list(client.jobs(user=user, everyone=user is None, state=state), as_json)


def _ref(text: str) -> JobRef:
    try:
        return parse_ref(text)
    except GatewayError as exc:
        common.fail(f"{exc.message} (appcode {exc.code.code})", common.NO_SUCH)


def main() -> None:
    """Run the command line."""
    app()
