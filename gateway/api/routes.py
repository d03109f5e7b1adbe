"""Every route, once: method, path, handler and who may use it. The handlers hold no business logic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from starlette.requests import Request

from gateway import wire
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id, parse_ref
from gateway.jobs.caller import Caller
from gateway.jobs.model import load_json
from gateway.jobs.services import Services
from gateway.jobs.states import phases_of_wire

_MOST_BODY = 32 << 20


class Access(Enum):
    """Who may use a route."""

    OPEN = "anybody, unidentified callers included"
    USER = "any identified user"
    ADMIN = "admins"


@dataclass(frozen=True)
class Route:
    """One route."""

    method: str
    path: str
    handler: Callable[..., Any]
    access: Access
    model: Any = None
    status: int = 200


Limit = Annotated[int, Query(ge=1, le=1000)]
Number = Annotated[int, Query(ge=0, le=1 << 50)]


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def root(request: Request) -> wire.Root:
    """Say what this service is; needs no identity."""
    return _services(request).info.root()


def health(request: Request) -> wire.Health:
    """Say that the daemon lives."""
    return wire.Health()


def ready(request: Request, response: Response) -> wire.Ready:
    """Check database, sites, S3 and crane; 503 when one is not well."""
    found = _services(request).info.ready()
    response.status_code = 200 if found.ready else 503
    return found


def whoami(request: Request) -> wire.WhoAmI:
    """Say who the caller is here."""
    return _services(request).info.whoami(_caller(request))


def sites(request: Request) -> wire.Sites:
    """List the sites."""
    return wire.Sites(sites=_services(request).info.sites())


async def submit(request: Request) -> wire.JobId:
    """Submit a job; the body is a JobInput."""
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

    pieces, total = [], 0
    async for piece in request.stream():
        total += len(piece)
        if total > _MOST_BODY:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"The body is over {_MOST_BODY >> 20} MiB; submit fewer files.",
            )
        pieces.append(piece)
    body = load_json(b"".join(pieces))
    job_id = await run_in_threadpool(_services(request).jobs.submit, _caller(request), body)
    return wire.JobId(job_id=str(job_id))


def jobs(
    request: Request,
    cluster: str | None = None,
    state: wire.WireState | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    limit: Limit = 1000,
) -> wire.Jobs:
    """List the caller's jobs, the last updated first."""
    found = _services(request).jobs.list_jobs(
        _caller(request),
        cluster=cluster,
        state=state,
        after=_zoned("after", after),
        before=_zoned("before", before),
        limit=limit,
    )
    return wire.Jobs(jobs=found)


def admin_jobs(
    request: Request,
    user: str | None = None,
    cluster: str | None = None,
    state: wire.WireState | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    limit: Limit = 1000,
) -> wire.Jobs:
    """List everyone's jobs, or one user's."""
    found = _services(request).jobs.list_jobs(
        _caller(request),
        cluster=cluster,
        state=state,
        after=_zoned("after", after),
        before=_zoned("before", before),
        limit=limit,
        user=user,
        everyone=user is None,
    )
    return wire.Jobs(jobs=found)


def _zoned(name: str, time: datetime | None) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER, f"{name}: the time has no zone; write 2026-01-31T12:00:00Z."
        )
    return time


def job(request: Request, job_id: str) -> wire.Job:
    """Return one job."""
    return _services(request).jobs.job(_caller(request), parse_job_id(job_id))


def status(request: Request, job_id: str) -> wire.JobStatus:
    """Return the state of one job."""
    return _services(request).jobs.status(_caller(request), parse_job_id(job_id))


def exit_codes(request: Request, job_id: str) -> wire.ExitCodes:
    """Return the exit codes of a job's containers."""
    return wire.ExitCodes(
        exit_codes=_services(request).jobs.exit_codes(_caller(request), parse_job_id(job_id))
    )


def containers(request: Request, job_id: str) -> wire.Containers:
    """Return the containers of a job."""
    return wire.Containers(
        containers=_services(request).jobs.containers(_caller(request), parse_job_id(job_id))
    )


def container(request: Request, job_id: str, number: int) -> wire.Container:
    """Return one container of a job."""
    return _services(request).jobs.container(_caller(request), parse_job_id(job_id), number)


def script(request: Request, job_id: str) -> wire.Script:
    """Return the batch scripts that were submitted for a job."""
    return wire.Script(
        scripts=_services(request).jobs.script(_caller(request), parse_job_id(job_id))
    )


def log(
    request: Request,
    job_id: str,
    number: int,
    stream: Literal["stdout", "stderr"],
    seek: Number = 0,
    length: Annotated[int | None, Query(ge=0, le=1 << 50)] = None,
) -> Response:
    """Return a container's log from byte `seek` on; X-Log-Size and X-Log-Final tell the rest."""
    piece = _services(request).jobs.log(
        _caller(request), parse_job_id(job_id), number, stream, seek, length
    )
    name = f"{parse_job_id(job_id)}_{number}.{stream}"
    return Response(
        piece.data,
        media_type="text/plain",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Log-Size": str(piece.size),
            "X-Log-Final": str(piece.final).lower(),
        },
    )


def cancel(request: Request, job_id: str) -> Response:
    """Cancel a job."""
    _services(request).jobs.cancel(_caller(request), parse_job_id(job_id))
    return Response(status_code=204)


def images(request: Request) -> wire.Images:
    """List the approved images."""
    return wire.Images(data=_services(request).images.everything())


def image(request: Request, name: str) -> wire.Image:
    """Return one approved image."""
    return _services(request).images.get(name)


def approve(
    request: Request,
    name: str,
    refdata_id: str | None = None,
    default_refdata_mount_point: str | None = None,
) -> wire.Image:
    """Approve an image."""
    if refdata_id is not None or default_refdata_mount_point is not None:
        raise GatewayError(
            AppCode.UNSUPPORTED, "refdata_id: reference data is not supported by this gateway yet."
        )
    return _services(request).images.approve(_caller(request), name)


def accounting(
    request: Request,
    user: Annotated[list[str] | None, Query()] = None,
    everyone: bool = False,
    start: datetime | None = None,
    end: datetime | None = None,
    state: Annotated[list[str] | None, Query()] = None,
    job: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 10_000,
) -> wire.AcctRows:
    """Return accounting rows of jobs, containers and phases."""
    states: list[str] = []
    for word in state or []:
        states += [str(phase) for phase in phases_of_wire(word)] or [word]
    found = _services(request).info.accounting(
        _caller(request),
        users=user or [],
        everyone=everyone,
        start=_zoned("start", start),
        end=_zoned("end", end),
        states=states,
        refs=[parse_ref(text) for text in job or []],
        limit=limit,
    )
    return wire.AcctRows(rows=found)


ROUTES = (
    Route("GET", "/", root, Access.OPEN, wire.Root),
    Route("GET", "/health", health, Access.OPEN, wire.Health),
    Route("GET", "/ready", ready, Access.OPEN, wire.Ready),
    Route("GET", "/whoami", whoami, Access.USER, wire.WhoAmI),
    Route("GET", "/sites", sites, Access.USER, wire.Sites),
    Route("POST", "/jobs", submit, Access.USER, wire.JobId),
    Route("GET", "/jobs", jobs, Access.USER, wire.Jobs),
    Route("GET", "/jobs/{job_id}", job, Access.USER, wire.Job),
    Route("GET", "/jobs/{job_id}/status", status, Access.USER, wire.JobStatus),
    Route("GET", "/jobs/{job_id}/exit_codes", exit_codes, Access.USER, wire.ExitCodes),
    Route("GET", "/jobs/{job_id}/containers", containers, Access.USER, wire.Containers),
    Route("GET", "/jobs/{job_id}/script", script, Access.USER, wire.Script),
    Route("GET", "/jobs/{job_id}/log/{number}/{stream}", log, Access.USER),
    Route("PUT", "/jobs/{job_id}/cancel", cancel, Access.USER, status=204),
    Route("GET", "/images", images, Access.USER, wire.Images),
    Route("GET", "/images/{name:path}", image, Access.USER, wire.Image),
    Route("GET", "/accounting", accounting, Access.USER, wire.AcctRows),
    Route("GET", "/admin/jobs", admin_jobs, Access.ADMIN, wire.Jobs),
    Route("GET", "/admin/jobs/{job_id}", job, Access.ADMIN, wire.Job),
    Route("GET", "/admin/jobs/{job_id}/exit_codes", exit_codes, Access.ADMIN, wire.ExitCodes),
    Route("GET", "/admin/jobs/{job_id}/container", containers, Access.ADMIN, wire.Containers),
    Route(
        "GET", "/admin/jobs/{job_id}/container/{number}", container, Access.ADMIN, wire.Container
    ),
    Route("PUT", "/admin/jobs/{job_id}/cancel", cancel, Access.ADMIN, status=204),
    Route("POST", "/admin/images/{name:path}", approve, Access.ADMIN, wire.Image),
)
