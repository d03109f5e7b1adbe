"""cts images, cts image, cts admin image: the images that jobs may use."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import wire
from gateway.cli.common import SOCKET, AsJson, Socket, command, connect, examples
from gateway.cli.text import clean, fields, local, print_json, table

IMAGES_EXAMPLES = examples("cts images", "cts images --json")
app = typer.Typer(help="Images that jobs may use.", no_args_is_help=True, rich_markup_mode=None)
admin = typer.Typer(help="Which images jobs may use.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="An image, by tag or digest.")]
Refdata = Annotated[
    str | None, typer.Option("--refdata", help="The id of the reference data of its jobs.")
]
MountPoint = Annotated[
    str | None,
    typer.Option(
        "--refdata-mount-point", help="Where containers see that, unless a job says otherwise."
    ),
]
Urls = Annotated[
    list[str] | None,
    typer.Option("--link", help="A URL where users read on; 20 at most, one option each."),
]
UsageNotes = Annotated[
    str | None, typer.Option("--usage-notes", help="What users are told; 10,000 characters.")
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", help="An approved image, from which is taken what the other options do not say."
    ),
]
Stage = Annotated[
    bool, typer.Option("--stage", help="Have every active site fetch and convert it now.")
]


@command
def images(as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """List the approved images: those that jobs may use."""
    with connect(socket) as client:
        found = client.images()
    if as_json:
        print_json(found)
        return
    table(
        ("NAME", "TAG", "DIGEST", "ENTRYPOINT", "BY"),
        [(i.name, i.tag, i.digest, " ".join(i.entrypoint), i.registered_by) for i in found],
    )


@app.command(
    "show", epilog=examples("cts image show ghcr.io/kbase/checkm2:1.0.1", "cts image show --json X")
)
@command
def show(name: Name, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Show all of an image: its notes, its platforms, and the sites where it was staged."""
    with connect(socket) as client:
        found = client.image(name)
    if as_json:
        print_json(found)
        return
    whole(found)


@admin.command(
    "approve",
    epilog=examples(
        "cts admin image approve ghcr.io/kbase/checkm2:1.0.1",
        "cts admin image approve ghcr.io/kbase/checkm2:1.0.2 --from ghcr.io/kbase/checkm2:1.0.1 --stage",
        "cts admin image approve ghcr.io/kbase/checkm2:1.0.1 --refdata 3 --refdata-mount-point /refdata",
    ),
)
@command
def approve(
    name: Name,
    refdata_id: Refdata = None,
    mount_point: MountPoint = None,
    urls: Urls = None,
    usage_notes: UsageNotes = None,
    from_image: From = None,
    stage: Stage = False,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Look an image up in its registry and let jobs use what it is now."""
    with connect(socket) as client:
        found = client.approve_image(
            name,
            refdata_id=refdata_id,
            default_refdata_mount_point=mount_point,
            urls=urls,
            usage_notes=usage_notes,
            from_image=from_image,
            stage=stage,
        )
    if as_json:
        print_json(found)
        return
    typer.echo(clean(f"{_reference(found)} is {found.digest}"))
    if stage:
        typer.echo(clean(_staged(found)))


@admin.command("delete", epilog=examples("cts admin image delete ghcr.io/kbase/checkm2:1.0.1"))
@command
def delete(name: Name, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Let no more jobs use an image. Those that have it go on, and its tag and digest are free again."""
    with connect(socket) as client:
        client.delete_image(name)
    if as_json:
        print_json({"deleted": name})


@admin.command(
    "stage", epilog=examples("cts admin image stage ghcr.io/kbase/checkm2:1.0.1 --site dev")
)
@command
def stage_now(
    name: Name,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", help="Only at this site; one option each. Else at all active ones."),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Have sites fetch and convert an image now, before a job wants it."""
    with connect(socket) as client:
        found = client.stage_image(name, clusters=sites or ())
    if as_json:
        print_json(found)
        return
    typer.echo(clean(_staged(found)))


def whole(found: wire.Image) -> None:
    """Print all of an image."""
    refdata = ""
    if found.refdata_id is not None:
        refdata = f"{found.refdata_id} at {found.default_refdata_mount_point or 'no default place'}"
    fields(
        [
            ("Image", _reference(found)),
            ("Digest", found.digest),
            ("Platforms", ", ".join(found.platforms)),
            ("Program", " ".join(found.entrypoint)),
            ("Refdata", refdata),
            ("By", f"{found.registered_by}, {local(found.registered_on)}"),
            *(("URL", url) for url in found.urls),
        ]
    )
    if found.usage_notes:
        typer.echo()
        for line in found.usage_notes.split("\n"):
            typer.echo(clean(line))
    if found.statuses:
        typer.echo("\nStaged")
        table(
            ("SITE", "STATE", "UPDATED", "JOBID", "NOTE"),
            [
                (s.cluster, s.state, local(s.updated), s.job_id, s.error or s.reason)
                for s in found.statuses
            ],
        )


def _reference(found: wire.Image) -> str:
    return found.name + (f":{found.tag}" if found.tag else "")


def _staged(found: wire.Image) -> str:
    if not found.statuses:
        return f"staged nowhere: no active site runs {', '.join(found.platforms)}"
    return "staged at " + ", ".join(f"{s.cluster} ({s.state})" for s in found.statuses)
