"""ctsbatch: submit a job by options, as sbatch does, from a batch script or without one."""

from __future__ import annotations

import sys

import typer

from gateway.cli import common
from gateway.cli.batch_job import Job, log_patterns, make_job
from gateway.cli.batch_logs import write_logs
from gateway.cli.batch_options import Options
from gateway.cli.batch_sources import BatchCommand, Script, script_of
from gateway.cli.common import SOCKET, Socket, UserError, command, connect, examples
from gateway.cli.dryrun import show_dry_run
from gateway.cli.grouped import options_of
from gateway.cli.text import clean
from gateway.cli.waiting import finish
from gateway.client import Client
from gateway.wire import Site

_ANY = "any"


@command
@options_of(Options)
def ctsbatch(ctx: typer.Context, options: Options, socket: Socket = SOCKET) -> None:
    """Submit a job."""
    script = _script(ctx, options)
    logs = log_patterns(options)
    if not options.quiet:
        for note in (*(script.notes if script is not None else ()), *_notes(options)):
            typer.echo(clean(f"note: {note}"), err=True)
    with connect(socket) as client:
        cluster, sites = _site(client, options.site)
        job = make_job(options, script, list(ctx.obj or []), cluster, sites)
        if options.test_only:
            show_dry_run(client.dry_run(job), as_json=False)
            return
        _submit(client, options, job, logs)


def _submit(
    client: Client, options: Options, job: Job, logs: tuple[str | None, str | None]
) -> None:
    job_id = client.submit(job, idempotency_key=options.idempotency_key)
    if options.parsable:
        typer.echo(clean(job_id))
    elif not options.quiet:
        typer.echo(clean(f"Submitted batch job {job_id}"))
    sys.stdout.flush()
    if options.wait:
        code = finish(client, [job_id], None, as_json=False, verbose=False)
        if any(logs):
            write_logs(client, job_id, *logs, options.directory)
        common.leave(code)
    elif any(logs) and not options.quiet:
        typer.echo(
            f"note: the files of -o and -e are written by ctsbatch -W; read the logs with: cts logs {clean(job_id)}",
            err=True,
        )


def _script(ctx: typer.Context, options: Options) -> Script | None:
    if options.wrap is None:
        return script_of(ctx)
    if options.script is not None:
        raise UserError(f"--wrap does not go with a script, {options.script}; give one of them")
    return Script("wrap", f"#!/bin/sh\n{options.wrap}\n")


def _notes(options: Options) -> list[str]:
    if not options.unheeded:
        return []
    return [
        "--mail-type, --mail-user, --comment, --gpu-bind and --open-mode are not heeded; who is to be told of a job has cts watch "
        "and cts webhook"
    ]


def _site(client: Client, name: str | None) -> tuple[str, list[Site]]:
    """Return what stands in the job as its site, and the sites that this may be."""
    sites = client.sites()
    active = [site for site in sites if site.active]
    if name == _ANY:
        return _ANY, active or sites
    if name is not None:
        found = next((site for site in sites if site.cluster == name), None)
        if found is None:
            names = ", ".join(site.cluster for site in sites)
            raise UserError(f"--site: there is no site {name!r}; there are {names}")
        return name, [found]
    if len(active) != 1:
        names = ", ".join(site.cluster for site in active)
        raise UserError(
            f"--site: say which site, or any; there are {names or 'none that take jobs'}"
        )
    return active[0].cluster, active


app = common.single(
    ctsbatch,
    "Submit a job by a batch script or by options. A script runs inside the image; what follows it is its own. Without one the "
    "image's program is run, and what follows -- goes to it.",
    examples(
        "ctsbatch job.sh",
        "ctsbatch --input 'data/reads/*.fq' -q debug -t 30 job.sh --fast",
        "ctsbatch --image ghcr.io/kbase/checkm2:1.0.1 --input data/a.fa --output results/a",
        "ctsbatch --image tool:1.0 --input data/a --input data/b -n 2 -c 4 --mem 8G -t 1:30:00 --output results/ab -- --fast",
    ),
    BatchCommand,
    allow_interspersed_args=False,
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; what follows the first -- is not for it."""
    given = sys.argv[1:] if argv is None else argv
    at = given.index("--") if "--" in given else len(given)
    common.run(app, args=given[:at], obj=given[at + 1 :])
