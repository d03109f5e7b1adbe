"""cts: submit jobs, look at them, read their logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import common
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, print_json, table
from gateway.client import Client
from gateway.errors import GatewayError
from gateway.ids import parse_ref
from gateway.wire import JobPreview, JobStatus

app = typer.Typer(
    help=f"Run container jobs from S3 to S3 on Slurm.\n\n{common.EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
admin = typer.Typer(help="For admins.", no_args_is_help=True)
admin_image = typer.Typer(help="Which images jobs may use.", no_args_is_help=True)
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
    with connect(socket) as client:
        job_id = client.submit(_read(file))
        if as_json and not wait:
            print_json({"job_id": job_id})
        elif not as_json:
            typer.echo(job_id)
            sys.stdout.flush()
        if wait:
            _finish(client, [job_id], None, as_json)


def _read(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        common.fail(f"cannot read {file}: {exc}", common.BAD_INPUT)
    try:
        document = json.loads(text)
    except ValueError as json_error:
        if file.endswith(".json"):
            common.fail(f"{file} is not valid JSON: {json_error}", common.BAD_INPUT)
        import yaml  # noqa: PLC0415 - only where it is needed: it is slow to import

        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            common.fail(
                f"{file} is neither JSON nor YAML: {str(exc).splitlines()[0]}", common.BAD_INPUT
            )
    if not isinstance(document, dict):
        common.fail(
            f"{file} must hold one object with the job's fields; see docs/job.md", common.BAD_INPUT
        )
    return document


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
        return
    rows = [
        (
            job.id,
            job.name or "",
            job.user,
            job.job_input.get("cluster"),
            job.state,
            job.phase,
            job.transition_times[-1].time.strftime("%Y-%m-%dT%H:%M:%S"),
            job.error or job.reason or "",
        )
        for job in found
    ]
    table(("JOBID", "NAME", "USER", "SITE", "STATE", "PHASE", "UPDATED", "NOTE"), rows)


@app.command()
@command
def show(job: JobArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show all of a job, or one container of it."""
    ref = _ref(job)
    with connect(socket) as client:
        if ref.container is not None:
            found = [c for c in client.containers(str(ref.job_id)) if c.index == ref.container]
            if not found:
                common.fail(f"job {ref.job_id} has no container {ref.container}", common.NO_SUCH)
            print_json(found[0])
            return
        full = client.job(job)
        if as_json:
            print_json(full)
            return
        containers = client.containers(job)
    where = ", ".join(full.slurm_jobs) or "none yet"
    lines: list[tuple[str, object]] = [
        ("Job", full.id),
        ("Name", full.name or ""),
        ("User", full.user),
        ("Site", full.job_input.get("cluster")),
        ("State", f"{full.state} ({full.phase})"),
        ("Reason", full.reason or ""),
        ("Error", full.error or ""),
        ("Image", f"{full.image.name}:{full.image.tag or ''}"),
        ("Digest", full.image.digest),
        ("SlurmID", where),
        ("Inputs", full.input_file_count),
        ("Output", full.job_input.get("output_dir")),
    ]
    for title, value in lines:
        if value not in ("", None):
            typer.echo(f"{title:<9} {common.clean(value)}")
    typer.echo("\nHistory")
    table(
        ("TIME", "STATE", "PHASE"),
        [
            (t.time.isoformat(timespec="milliseconds"), t.state, t.phase)
            for t in full.transition_times
        ],
    )
    typer.echo("\nContainers")
    table(
        ("ID", "PHASE", "EXIT", "NODE", "SLURMID", "OUTPUTS", "ERROR"),
        [
            (c.id, c.phase, c.exit_code, c.node, c.slurm_job_id, len(c.outputs), c.error)
            for c in containers
        ],
    )
    if full.outputs:
        typer.echo("\nOutputs")
        table(("FILE", "BYTES", "CRC64NVME"), [(o.file, o.size, o.crc64nvme) for o in full.outputs])


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
    out = sys.stdout.buffer
    with connect(socket) as client:
        if follow:
            for piece in client.follow_log(str(ref.job_id), number, stream):
                out.write(piece)
                out.flush()
            return
        seek = 0
        while True:
            piece, _ = client.log(str(ref.job_id), number, stream, seek, 1 << 20)
            if not piece:
                return
            out.write(piece)
            seek += len(piece)


@app.command()
@command
def cancel(jobs: JobsArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Cancel jobs."""
    with connect(socket) as client:
        for job in jobs:
            client.cancel(job)
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
                f"{status.transition_times[-1].time:%H:%M:%S} {status.id} {status.phase}{note}",
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
    typer.echo(f"{me.user} ({', '.join(me.roles)})")
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
        typer.echo(text, nl=False)


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
    typer.echo(f"{image.name}:{image.tag or ''} is {image.digest}")


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


def _ref(text: str) -> Any:
    try:
        return parse_ref(text)
    except GatewayError as exc:
        common.fail(exc.message, common.NO_SUCH)


def main() -> None:
    """Run the command line."""
    app()
