"""Handlers about the gateway itself: what it is, whether it is well, who the caller is, its sites."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from gateway import wire
from gateway.api.params import caller_of, services_of
from gateway.api.readiness import Readiness


def root(request: Request) -> wire.Root:
    """Say what this service is; needs no identity."""
    return services_of(request).info.root()


async def health() -> wire.Health:
    """Say that the daemon lives; takes no thread, so that it answers under any load."""
    return wire.Health()


async def ready(request: Request, response: Response) -> wire.Ready:
    """Check database, sites, S3 and crane; 503 when one is not well. An answer serves for two seconds.

    Over TCP, where anybody may ask, `detail` is empty: it has names of hosts and paths.
    """
    readiness: Readiness = request.app.state.readiness
    found = await readiness.answer(services_of(request).info.ready)
    if getattr(request.state, "peer", None) is None:
        lines = [line.model_copy(update={"detail": ""}) for line in found.checks]
        found = wire.Ready(ready=found.ready, checks=lines)
    response.status_code = 200 if found.ready else 503
    return found


def whoami(request: Request) -> wire.WhoAmI:
    """Say who the caller is here."""
    return services_of(request).info.whoami(caller_of(request))


def sites(request: Request) -> wire.Sites:
    """List the sites."""
    return wire.Sites(sites=services_of(request).info.sites(caller_of(request)))


def switch_on(request: Request, site: str) -> None:
    """Have a site take jobs."""
    services_of(request).info.switch_site(caller_of(request), site, active=True)


def check_template(
    request: Request,
    site: str,
    template: Annotated[
        str | None,
        Query(
            max_length=1024,
            description="A name such as perlmutter, or a path on the gateway's machine; without it, the site's own.",
        ),
    ] = None,
) -> wire.TemplateCheck:
    """Try a template at a site: render it for sample jobs, and have bash and Slurm look at the script."""
    return services_of(request).info.check_template(caller_of(request), site, template)


def switch_off(
    request: Request,
    site: str,
    reason: Annotated[
        str | None, Query(description="What users are told; 1 to 500 characters.")
    ] = None,
) -> None:
    """Have a site take no more jobs. Those that Slurm has run on to their end; the others wait until it is on again."""
    services_of(request).info.switch_site(caller_of(request), site, active=False, reason=reason)
