"""cts admin: what only admins may."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import admin_job, admin_restart, cache, images, refdata, requests
from gateway.cli.common import (
    JOB_FAILED,
    OK,
    SOCKET,
    AsJson,
    Socket,
    command,
    connect,
    examples,
    leave,
)
from gateway.cli.filters import Image, Labels, Name
from gateway.cli.show import job_list
from gateway.cli.text import clean, print_json

app = typer.Typer(help="For admins.", no_args_is_help=True, rich_markup_mode=None)
site = typer.Typer(help="Which sites take jobs.", no_args_is_help=True, rich_markup_mode=None)
template = typer.Typer(
    help="Templates of batch scripts.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(images.admin, name="image")
app.add_typer(cache.app, name="cache")
app.add_typer(template, name="template")
app.add_typer(site, name="site")
app.add_typer(refdata.app, name="refdata")
app.add_typer(admin_job.app, name="job")
admin_restart.add_to(admin_job.app)
app.add_typer(requests.admin, name="request")
app.command("requests", epilog=requests.ALL_EXAMPLES)(requests.all_requests)


@app.command("jobs", epilog=examples("cts admin jobs", "cts admin jobs -u alice --state error"))
@command
def jobs(
    user: Annotated[str | None, typer.Option("-u", "--user", help="Only this user's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state of the wire.")] = None,
    name: Name = None,
    labels: Labels = None,
    image: Image = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List everyone's jobs, the last updated first, 1000 at most."""
    with connect(socket) as client:
        found = client.jobs(
            user=user,
            everyone=user is None,
            state=state,
            name=name,
            labels=labels or (),
            image=image,
        )
        job_list(found, as_json=as_json)


@template.command(
    "check",
    epilog=examples(
        "cts admin template check",
        "cts admin template check perlmutter --site dev",
        "cts admin template check /etc/cts/own.sbatch.j2",
    ),
)
@command
def check_template(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH]",
            help="A template of the release, or a path on the gateway's machine. Default: each site's own.",
        ),
    ] = None,
    sites: Annotated[
        list[str] | None, typer.Option("--site", help="Only there; as often as needed.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Try a template: render it for sample jobs, have bash read it, and show it to Slurm; exit code 1 when one is wrong."""
    with connect(socket) as client:
        names = sites or [each.cluster for each in client.sites()]
        found = [client.check_template(each, name) for each in names]
    if as_json:
        print_json(found)
    else:
        for one in found:
            for line in one.checks:
                verdict = "ok  " if line.ok else "FAIL"
                where = one.path if line.name == "render" else ""
                detail = ": ".join(part for part in (where, line.detail) if part)
                typer.echo(clean(f"{verdict}  {one.cluster}: {line.name:<18}  {detail}"))
    leave(JOB_FAILED if any(not one.ok for one in found) else OK)


SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="One of: cts sites.")]


@site.command("on", epilog=examples("cts admin site on dev"))
@command
def switch_on(name: SiteArgument, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Have a site take jobs; those that waited for it are submitted."""
    _switch(name, None, socket, active=True, as_json=as_json)


@site.command("off", epilog=examples('cts admin site off dev --reason "maintenance until noon"'))
@command
def switch_off(
    name: SiteArgument,
    reason: Annotated[str | None, typer.Option(help="What users are told.")] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Have a site take no more jobs. Those that Slurm has run on to their end; others wait until it is on again."""
    _switch(name, reason, socket, active=False, as_json=as_json)


def _switch(name: str, reason: str | None, socket: str, *, active: bool, as_json: bool) -> None:
    with connect(socket) as client:
        client.switch_site(name, active=active, reason=reason)
    if as_json:
        print_json({"cluster": name, "active": active, "reason": reason})
        return
    if active:
        typer.echo(clean(f"{name} takes jobs"))
        return
    told = f": {reason}" if reason else ""
    typer.echo(clean(f"{name} takes no more jobs{told}"))
