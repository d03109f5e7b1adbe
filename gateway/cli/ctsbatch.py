"""ctsbatch: submit a job by options, as sbatch does. Bodies of scripts are not run yet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import common
from gateway.cli.common import EXIT_CODES, SOCKET, Socket, command, connect


@command
def ctsbatch(
    args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments of the image's program.")
    ] = None,
    image: Annotated[str, typer.Option("--image", help="An approved image.")] = ...,  # type: ignore[assignment]
    inputs: Annotated[
        list[str], typer.Option("--input", help="bucket/key; as often as needed.")
    ] = ...,  # type: ignore[assignment]
    output: Annotated[str, typer.Option("--output", help="bucket/prefix for the results.")] = ...,  # type: ignore[assignment]
    site: Annotated[str, typer.Option("-M", "--site", "--clusters", help="The site.")] = "dev",
    containers: Annotated[
        int, typer.Option("-n", "--ntasks", help="Containers that share the inputs.")
    ] = 1,
    cpus: Annotated[int, typer.Option("-c", "--cpus-per-task", help="CPUs of each.")] = 1,
    memory: Annotated[str, typer.Option("--mem", help="Memory of each: 2GB, 500M.")] = "10MB",
    time: Annotated[
        str,
        typer.Option("-t", "--time", help="Run time of each, in Slurm's forms: 30, 1:30:00, 1-12"),
    ] = "1",
    name: Annotated[str | None, typer.Option("-J", "--job-name", help="The job's name.")] = None,
    wait: Annotated[bool, typer.Option("-W", "--wait", help="Wait for the end.")] = False,
    parsable: Annotated[bool, typer.Option("--parsable", help="Print the id alone.")] = False,
    socket: Socket = SOCKET,
) -> None:
    """Submit a job."""
    job: dict[str, Any] = {
        "cluster": site,
        "image": image,
        "input_files": inputs,
        "output_dir": output,
        "num_containers": containers,
        "cpus": cpus,
        "memory": memory,
        "runtime": int(time) * 60 if time.isdigit() else time,
        "params": {"args": args or []},
    }
    if name is not None:
        job["name"] = name
    with connect(socket) as client:
        job_id = client.submit(job)
        typer.echo(job_id if parsable else f"Submitted batch job {job_id}")
        if wait and client.wait(job_id).state != "complete":
            raise typer.Exit(common.JOB_FAILED)


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(
        help=f"Submit a job by options; what follows -- goes to the image's program.\n\n{EXIT_CODES}"
    )(ctsbatch)
    app()
