"""ctsbatch: submit a job by options, as sbatch does. Bodies of scripts are not run yet."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer

from gateway.cli import common
from gateway.cli.common import SOCKET, Socket, command, connect, examples
from gateway.cli.dryrun import show_dry_run
from gateway.cli.filters import (
    Dependencies,
    IdempotencyKey,
    NewLabels,
    with_dependencies,
    with_labels,
)
from gateway.cli.text import clean
from gateway.cli.waiting import finish
from gateway.client import Client

_BINARY = re.compile(r"([0-9]+)([KMGT]?)", re.ASCII | re.IGNORECASE)


def _refuse_script(script: str | None) -> None:
    if script is not None:
        common.fail(
            f"{script}: ctsbatch does not run scripts yet; the image's own program is run, and what it shall get "
            "goes after --: ctsbatch --image NAME … -- ARGUMENT …",
            common.BAD_INPUT,
        )


@command
def ctsbatch(
    ctx: typer.Context,
    image: Annotated[str, typer.Option("--image", help="An approved image.")],
    inputs: Annotated[list[str], typer.Option("--input", help="bucket/key; as often as needed.")],
    output: Annotated[str, typer.Option("--output", help="bucket/prefix for the results.")],
    script: Annotated[
        str | None,
        typer.Argument(
            help="Not supported yet: the image's own program is run.",
            callback=_refuse_script,
            is_eager=True,
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            "-M",
            "--site",
            "--clusters",
            envvar="CTS_SITE",
            help="The site; needed where there are several.",
        ),
    ] = None,
    containers: Annotated[
        int, typer.Option("-n", "--ntasks", help="Containers that share the inputs.")
    ] = 1,
    cpus: Annotated[int, typer.Option("-c", "--cpus-per-task", help="CPUs of each.")] = 1,
    memory: Annotated[
        str | None,
        typer.Option("--mem", help="Memory of each: 500M, 2G as sbatch (binary), or 2GB, 2GiB."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "-t", "--time", help="Run time of each, in Slurm's forms: 30 (minutes), 1:30:00, 1-12"
        ),
    ] = None,
    account: Annotated[str | None, typer.Option("-A", "--account", help="Slurm's account.")] = None,
    partition: Annotated[
        str | None, typer.Option("-p", "--partition", help="Slurm's partition.")
    ] = None,
    qos: Annotated[str | None, typer.Option("-q", "--qos", help="Slurm's QOS.")] = None,
    constraint: Annotated[
        str | None,
        typer.Option("-C", "--constraint", help="Features of nodes, with & and | between."),
    ] = None,
    reservation: Annotated[
        str | None, typer.Option("--reservation", help="Slurm's reservation.")
    ] = None,
    licenses: Annotated[
        str | None, typer.Option("-L", "--licenses", help="Licenses of each: cfs,scratch:2")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("-G", "--gpus", "--gpus-per-task", help="GPUs of each.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("-N", "--nodes", help="Nodes of each; the program runs on all.")
    ] = None,
    name: Annotated[str | None, typer.Option("-J", "--job-name", help="The job's name.")] = None,
    labels: NewLabels = None,
    dependency: Dependencies = None,
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[
        bool, typer.Option("-W", "--wait", help="Wait for the end; exit code 1 when the job fails.")
    ] = False,
    test_only: Annotated[
        bool,
        typer.Option(
            "--test-only",
            help="Have the job checked whole and show what it would be; submit nothing.",
        ),
    ] = False,
    parsable: Annotated[bool, typer.Option("--parsable", help="Print the id alone.")] = False,
    socket: Socket = SOCKET,
) -> None:
    """Submit a job."""
    job: dict[str, Any] = {
        "image": image,
        "input_files": inputs,
        "output_dir": output,
        "num_containers": containers,
        "cpus": cpus,
        "params": {"args": list(ctx.obj or [])},
    }
    if memory is not None:
        job["memory"] = _memory(memory)
    if time is not None:
        job["runtime"] = _runtime(time)
    wanted = {
        "name": name,
        "account": account,
        "partition": partition,
        "qos": qos,
        "constraint": constraint,
        "reservation": reservation,
        "licenses": licenses,
        "gpus": gpus,
        "nodes": nodes,
    }
    job |= {field: value for field, value in wanted.items() if value is not None}
    job = with_dependencies(with_labels(job, labels), dependency)
    with connect(socket) as client:
        job = {"cluster": site or _only_site(client), **job}
        if test_only:
            show_dry_run(client.dry_run(job), as_json=False)
            return
        job_id = client.submit(job, idempotency_key=idempotency_key)
        typer.echo(clean(job_id if parsable else f"Submitted batch job {job_id}"))
        sys.stdout.flush()
        if wait:
            common.leave(finish(client, [job_id], None, as_json=False, verbose=False))


def _memory(text: str) -> str:
    """Mean what sbatch means: a plain number is MiB, and K, M, G, T are powers of 1024."""
    match = _BINARY.fullmatch(text)
    return f"{match[1]}{(match[2] or 'M').upper()}iB" if match else text


def _runtime(text: str) -> str | int:
    """Mean what sbatch means: a plain number is minutes."""
    return int(text) * 60 if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else text


def _only_site(client: Client) -> str:
    names = [site.cluster for site in client.sites() if site.active]
    if len(names) != 1:
        common.fail(
            f"--site: say which site; there are {', '.join(names) or 'none that take jobs'}",
            common.BAD_INPUT,
        )
    return names[0]


app = common.single(
    ctsbatch,
    "Submit a job by options; what follows -- goes to the image's program.",
    examples(
        "ctsbatch --image ghcr.io/kbase/checkm2:1.0.1 --input data/a.fa --output results/a",
        "ctsbatch --image tool:1.0 --input data/a --input data/b -n 2 -c 4 --mem 8G -t 1:30:00 --output results/ab -- --fast",
    ),
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; what follows the first -- is not for it."""
    given = sys.argv[1:] if argv is None else argv
    at = given.index("--") if "--" in given else len(given)
    common.run(app, args=given[:at], obj=given[at + 1 :])
