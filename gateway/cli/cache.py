"""cts admin cache: the image caches of the sites."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from gateway import wire
from gateway.cli.common import (
    JOB_FAILED,
    OK,
    SOCKET,
    AsJson,
    SiteName,
    Socket,
    command,
    connect,
    examples,
    leave,
)
from gateway.cli.text import clean, local, print_json, size, table
from gateway.client import Client, CtsError
from gateway.errors import AppCode

app = typer.Typer(
    help="The image caches of the sites.", no_args_is_help=True, rich_markup_mode=None
)
Which = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="A name or a digest, which may be cut, as list has them."),
]


@app.command(
    "list", epilog=examples("cts admin cache list", "cts admin cache list --site dev --json")
)
@command
def show(
    sites: Annotated[
        list[str] | None, typer.Option("--site", help="Only this; one option each.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """List the images that sites have converted, the last used first. JOBS have not ended and need it."""
    with connect(socket) as client:
        found = client.image_caches(clusters=sites or ())
    if as_json:
        print_json(found)
        return
    table(
        ("SITE", "DIGEST", "SIZE", "LAST USED", "JOBS", "NAMES"),
        [
            (i.cluster, i.digest[:19], size(i.size), local(i.last_used), i.jobs, ", ".join(i.names))
            for cache in found
            for i in cache.images
        ],
    )
    for cache in found:
        bound = "no bound" if cache.max_size is None else f"{size(cache.max_size)} at most"
        said = cache.error or f"{len(cache.images)} images, {size(cache.size)}, {bound}"
        typer.echo(clean(f"{cache.cluster}: {said}"))


@app.command("remove", epilog=examples("cts admin cache remove dev sha256:0123456789ab"))
@command
def remove(site: SiteName, which: Which, as_json: AsJson = False, socket: Socket = SOCKET) -> None:
    """Remove an image from the cache of a site; refused while jobs need it. A later job has it converted again."""
    with connect(socket) as client:
        image = _one(client, site, which)
        client.remove_cached_image(site, image.digest)
    if as_json:
        print_json({"removed": image.digest, "cluster": site})


@app.command(
    "verify",
    epilog=examples("cts admin cache verify dev", "cts admin cache verify dev sha256:0123456789ab"),
)
@command
def verify(
    site: SiteName,
    which: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Only this. Default: all, one by one.")
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Read images in the cache of a site whole; exit code 1 when one is not what was converted."""
    with connect(socket) as client:
        if which is None:
            images = client.image_caches(clusters=[site])[0].images
        else:
            images = [_one(client, site, which)]
        found = [client.verify_cached_image(site, image.digest) for image in images]
    if as_json:
        print_json(found)
    else:
        for one in found:
            text = "ok  " if one.good else "FAIL"
            typer.echo(clean(f"{text}  {one.digest}" + (f": {one.detail}" if one.detail else "")))
    leave(OK if all(one.good for one in found) else JOB_FAILED)


@app.command(
    "prune", epilog=examples("cts admin cache prune dev", "cts admin cache prune dev --max 100GB")
)
@command
def prune(
    site: SiteName,
    most: Annotated[
        str | None,
        typer.Option("--max", help="What may stay, as 100GB; 0: nothing that no job needs."),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = SOCKET,
) -> None:
    """Remove images that no job needs, unused for longest first, until the cache is within the site's bound."""
    bound = None if most is None else _bytes(most)
    with connect(socket) as client:
        done = client.prune_image_cache(site, max_size=bound)
    if as_json:
        print_json(done)
        return
    freed = sum(image.size for image in done.removed)
    typer.echo(
        clean(f"{site}: {len(done.removed)} images removed, {size(freed)}; {size(done.size)} left")
    )


def _bytes(text: str) -> int:
    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError as exc:
        raise typer.BadParameter(f"{text[:100]!r} is no size; write 100GB or 0") from exc


def _one(client: Client, site: str, which: str) -> wire.CachedImage:
    """Find the one image of a cache that is meant."""
    images = client.image_caches(clusters=[site])[0].images
    found = [
        i for i in images if which in i.names or (len(which) > 10 and i.digest.startswith(which))
    ]
    if len(found) != 1:
        code = AppCode.NO_SUCH_IMAGE
        how = "no image" if not found else f"{len(found)} images"
        raise CtsError(
            code.http_status,
            f"{which[:100]!r} is {how} in the cache of {site}; cts admin cache list shows what is there",
            code.code,
        )
    return found[0]
