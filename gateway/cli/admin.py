"""cts admin: what only admins may."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import admin_job, admin_restart, images, refdata, requests
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.filters import Image, Labels, Name
from gateway.cli.show import job_list
from gateway.cli.text import clean, print_json

app = typer.Typer(help="For admins.", no_args_is_help=True, rich_markup_mode=None)
site = typer.Typer(help="Which sites take jobs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(images.admin, name="image")
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
