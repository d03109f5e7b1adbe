"""cts: submit jobs, look at them, read their logs."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from gateway import __version__
from gateway.cli import (
    admin,
    common,
    files,
    images,
    refdata,
    requests,
    sharing,
    show,
    show_sites,
    tokens,
    watch,
    webhooks,
)
from gateway.cli.common import SOCKET, AsJson, Socket, UserError, command, connect, examples
from gateway.cli.dryrun import show_dry_run
from gateway.cli.filters import (
    Dependencies,
    IdempotencyKey,
    Image,
    Labels,
    Name,
    NewLabels,
    with_dependencies,
    with_labels,
)
from gateway.cli.jobfile import read_job
from gateway.cli.logs import log_pieces
from gateway.cli.refs import job_of, ref_of
from gateway.cli.text import clean, print_json, write_log
from gateway.cli.waiting import finish
from gateway.client import Client, Stream
from gateway.wire import Site

app = common.new_app(
    "Run container jobs from S3 to S3 on Slurm. Jobs are written 1234, their containers 1234_0, the phases of those "
    "1234_0.run.",
    no_args_is_help=True,
    epilog=examples(
        "cts submit job.yaml --wait", "cts show 1234", "cts logs -f 1234_0", "cts COMMAND --help"
    ),
)
app.add_typer(admin.app, name="admin")
app.add_typer(tokens.app, name="token")
admin.app.add_typer(tokens.admin, name="token")
app.command(epilog=refdata.EXAMPLES)(refdata.refdata)
app.command(epilog=files.PUT_EXAMPLES)(files.put)
app.command(epilog=files.GET_EXAMPLES)(files.get)
app.command(epilog=sharing.EXAMPLES)(sharing.share)
app.command(epilog=watch.EXAMPLES)(watch.watch)
app.add_typer(webhooks.app, name="webhook")
admin.app.add_typer(webhooks.admin, name="webhook")
app.command(epilog=images.IMAGES_EXAMPLES)(images.images)
app.add_typer(images.app, name="image")
app.add_typer(requests.app, name="request")
app.command(epilog=requests.MINE_EXAMPLES)(requests.requests)

RefArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="A job 1234, a container of it 1234_0, or a phase 1234_0.run."
    ),
]
JobsArgument = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help="Jobs such as 1234; whole ones, no containers."),
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="While waiting, a line for each phase on standard error."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cts {__version__}")
        raise typer.Exit


@app.callback()
def _cts(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=examples(
        "cts submit job.yaml",
        "cts submit job.yaml --wait && echo done",
        "cts submit --dry-run job.yaml",
        "generate-job | cts submit -",
    )
)
@command
def submit(
    file: Annotated[str, typer.Argument(help="The job as JSON or YAML; - for standard input.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the job's end; exit code 1 when it fails.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Have it checked whole and show what it would be; nothing is submitted.",
        ),
    ] = False,
    verbose: Verbose = False,
    labels: NewLabels = None,
    dependency: Dependencies = None,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Submit a job; its id alone is printed.

    In the file, memory is bytes or has a unit ("2GB", "512MiB"), runtime is seconds, an ISO 8601 duration ("PT1H30M") or
    has Slurm's form ("1:30:00"; "1:30" is minutes and seconds, as in sbatch). Both are of one container.
    """
    if dry_run and wait:
        raise UserError(
            "--wait does not go with --dry-run, which submits nothing; give one of them"
        )
    job = with_dependencies(with_labels(read_job(file), labels), dependency)
    with connect(socket) as client:
        if dry_run:
            show_dry_run(client.dry_run(job), as_json=as_json)
            return
        job_id = client.submit(job, idempotency_key=idempotency_key)
        if as_json and not wait:
            print_json({"job_id": job_id})
        elif not as_json:
            typer.echo(clean(job_id))
            sys.stdout.flush()
        if wait:
            common.leave(finish(client, [job_id], None, as_json=as_json, verbose=verbose))


@app.command(
    epilog=examples(
        "cts jobs", "cts jobs --state error --limit 10", "cts jobs --label project=soil --json"
    )
)
@command
def jobs(
    state: Annotated[
        str | None,
        typer.Option(help="Only jobs in this state of the wire: job_submitted, complete, error …"),
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Only jobs of this site.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 100,
    name: Name = None,
    labels: Labels = None,
    image: Image = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="The jobs that others share with you.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List your jobs, the last updated first."""
    with connect(socket) as client:
        found = client.jobs(
            state=state,
            cluster=cluster,
            limit=limit,
            name=name,
            labels=labels or (),
            image=image,
            shared=shared,
        )
        show.job_list(found, as_json=as_json)


@app.command(
    "show", epilog=examples("cts show 1234", "cts show 1234_0", "cts show --json 1234_0.run")
)
@command
def show_one(job: RefArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show all of a job, of one container of it, or of one phase. Sizes are bytes, times those of your clock."""
    ref = ref_of(job)
    with connect(socket) as client:
        if ref.container is None:
            whole = client.job(str(ref.job_id))
            if as_json:
                print_json(whole)
            else:
                show.whole_job(whole, client.containers(whole.id))
            return
        container = show.find(client, ref)
    if ref.phase is None:
        show.one_container(container, as_json=as_json)
    else:
        show.one_phase(container, ref, as_json=as_json)


@app.command(
    epilog=examples(
        "cts logs 1234", "cts logs -f 1234_2", "cts logs -c 2 --stderr 1234 > errors.txt"
    )
)
@command
def logs(
    job: RefArgument,
    container: Annotated[
        int | None, typer.Option("-c", "--container", help="Which container, counted from 0.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on as it grows, until the container's end.")
    ] = False,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="Standard error instead of standard output.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Print the log of a container (of container 0 where none is named): into pipes and files as it is; to a terminal
    without what would steer it, but for colours.
    """
    ref = ref_of(job)
    if ref.phase not in (None, "run"):
        raise UserError(
            f"{job}: {ref.phase} has no log of its own; what the container wrote is: cts logs {ref.job_id}_{ref.container}"
        )
    if follow and as_json:
        raise UserError("--json does not go with --follow; give one of them")
    number = container if container is not None else ref.container or 0
    stream: Stream = "stderr" if stderr else "stdout"
    with connect(socket) as client:
        if as_json:
            print_json(_whole_log(client, str(ref.job_id), number, stream))
        elif follow:
            write_log(client.follow_log(str(ref.job_id), number, stream))
        else:
            write_log(log_pieces(client, str(ref.job_id), number, stream))


def _whole_log(client: Client, job: str, number: int, stream: Stream) -> dict[str, object]:
    _, final = client.log(job, number, stream, 0, 0)
    data = b"".join(log_pieces(client, job, number, stream))
    return {
        "id": f"{job}_{number}",
        "stream": stream,
        "final": final,
        "size": len(data),
        "text": data.decode("utf-8", "replace"),
    }


@app.command(epilog=examples("cts cancel 1234", "cts cancel 1234 1235"))
@command
def cancel(jobs: JobsArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Cancel jobs, all containers of each. To cancel one twice is no error; one that has ended is refused (exit code 2)."""
    with connect(socket) as client:
        done, worst = common.for_each(
            jobs, lambda text: client.cancel(job_of(text, "cts cancel {job}"))
        )
    if as_json:
        print_json({"canceled": done})
    common.leave(worst)


@app.command(
    epilog=examples(
        "cts wait 1234", "cts wait 1234 1235 --timeout 3600", "cts wait -v 1234 2> progress.txt"
    )
)
@command
def wait(
    jobs: JobsArgument,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Give up after so many seconds; exit code 1, and the jobs go on."),
    ] = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Wait for the end of jobs; exit code 1 when one of them fails or is canceled. A terminal shows how far they are."""
    with connect(socket) as client:
        common.leave(finish(client, jobs, timeout, as_json=as_json, verbose=verbose))


@app.command(epilog=examples("cts sites", "cts sites dev", "cts sites --json"))
@command
def sites(
    site: Annotated[
        str | None, typer.Argument(help="Only this one, with all that it offers.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List the sites. GB/NODE are decimal (1 GB is 10^9 bytes), as in a job's memory."""
    with connect(socket) as client:
        found = client.sites()
    if site is not None:
        found = [each for each in found if each.cluster == site] or _no_site(site, found)
    if as_json:
        print_json(found)
    elif site is None:
        show_sites.site_list(found)
    else:
        show_sites.one_site(found[0])


def _no_site(name: str, there: list[Site]) -> NoReturn:
    names = ", ".join(site.cluster for site in there)
    common.fail(f"there is no site {name}; the sites are {names}", common.NO_SUCH)


@app.command(epilog=examples("cts whoami", "cts whoami --json"))
@command
def whoami(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show who you are to the gateway, and which S3 paths you may read and write."""
    with connect(socket) as client:
        me = client.whoami()
    if as_json:
        print_json(me)
        return
    typer.echo(clean(f"{me.user} ({', '.join(me.roles)})"))
    for path in me.allowed_paths:
        typer.echo(f"  {path.perm:<5} {clean(path.path)}")


@app.command(epilog=examples("cts script 1234", "cts script 1234 | grep SBATCH"))
@command
def script(job: RefArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Print the batch script that was submitted for a job; the containers of a job share it."""
    with connect(socket) as client:
        scripts = client.script(str(ref_of(job).job_id))
    if as_json:
        print_json(scripts)
        return
    for text in scripts:
        typer.echo("\n".join(clean(line) for line in text.split("\n")), nl=False)


def main() -> None:
    """Run the command line."""
    common.run(app)
