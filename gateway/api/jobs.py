"""Handlers of /jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Body, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway import wire
from gateway.api.bodies import Bodies
from gateway.api.lists import Cursor, ImageFilter, Labels, Name, narrowed, page
from gateway.api.params import (
    JobId,
    Limit,
    Number,
    Position,
    Time,
    caller_of,
    limiter_of,
    services_of,
)
from gateway.jobs.idempotency import check_key
from gateway.jobs.model import Sharing, load_json

_SUBMISSIONS = 16  # at one time; each asks S3 for its inputs, and reading must not wait for that
_PIECE = 1 << 20
DryRun = Annotated[
    bool,
    Query(description="Check the job whole and answer what it would be; nothing is stored."),
]


async def submit(
    request: Request,
    dry_run: DryRun = False,
    idempotency_key: Annotated[
        str | None, Header(description="1 to 255 printable ASCII characters, given once.")
    ] = None,
) -> wire.JobId | wire.DryRun:
    """Submit a job; the body is a JobInput.

    The same Idempotency-Key and body within a day return the first job's id; the same key with another body is refused.
    """
    keys = request.headers.getlist("idempotency-key")
    key = None if idempotency_key is None else check_key(keys[0] if len(keys) == 1 else "")
    bodies: Bodies = request.app.state.bodies
    async with bodies.read(request, caller_of(request).user) as body:
        limiter = limiter_of(request, "submissions", _SUBMISSIONS)
        return await to_thread.run_sync(_submit, request, body, key, dry_run, limiter=limiter)


def _submit(
    request: Request, body: bytes, key: str | None, dry_run: bool
) -> wire.JobId | wire.DryRun:
    if dry_run:
        return services_of(request).jobs.dry_run(caller_of(request), load_json(body))
    job_id = services_of(request).jobs.submit(caller_of(request), load_json(body), key)
    return wire.JobId(job_id=str(job_id))


def jobs(
    request: Request,
    cluster: str | None = None,
    state: wire.WireState | None = None,
    after: Time = None,
    before: Time = None,
    limit: Limit = 1000,
    name: Name = None,
    label: Labels = None,
    image: ImageFilter = None,
    cursor: Cursor = None,
    shared: Annotated[
        bool,
        Query(description="The jobs that others share with the caller, in place of the caller's."),
    ] = False,
) -> wire.Jobs:
    """List the caller's jobs, the last updated first; `after` is inclusive, `before` exclusive, of the last update.

    With a cursor, by pages: the last submitted first, so that jobs which come or change meanwhile move no page.
    """
    narrow = narrowed(name, label, image, cursor, shared=shared)
    found = services_of(request).jobs.list_jobs(
        caller_of(request),
        cluster=cluster,
        state=state,
        after=after,
        before=before,
        limit=limit,
        narrow=narrow,
    )
    return page(found, limit, narrow)


def job(request: Request, job_id: JobId) -> wire.Job:
    """Return one job with its inputs and outputs."""
    return services_of(request).jobs.job(caller_of(request), job_id)


def status(request: Request, job_id: JobId) -> wire.JobStatus:
    """Return the state of one job and its history."""
    return services_of(request).jobs.status(caller_of(request), job_id)


def exit_codes(request: Request, job_id: JobId) -> wire.ExitCodes:
    """Return the exit codes of a job's containers, null where there is none."""
    found = services_of(request).jobs.exit_codes(caller_of(request), job_id)
    return wire.ExitCodes(exit_codes=found)


def containers(request: Request, job_id: JobId) -> wire.Containers:
    """Return the containers of a job."""
    found = services_of(request).jobs.containers(caller_of(request), job_id)
    return wire.Containers(containers=found)


def container(request: Request, job_id: JobId, number: Number) -> wire.Container:
    """Return one container of a job."""
    return services_of(request).jobs.container(caller_of(request), job_id, number)


def script(request: Request, job_id: JobId) -> wire.Script:
    """Return the batch scripts that were submitted for a job."""
    found = services_of(request).jobs.script(caller_of(request), job_id)
    return wire.Script(scripts=found)


def cancel(request: Request, job_id: JobId) -> Response:
    """Cancel a job. Asking again is no error; a job that has ended otherwise is 30300 with its state."""
    services_of(request).jobs.cancel(caller_of(request), job_id)
    return Response(status_code=204)


def share(
    request: Request,
    job_id: JobId,
    sharing: Annotated[Sharing, Body(examples=[{"users": ["bob"], "groups": ["genomics"]}])],
) -> Response:
    """Let these users and groups read a job, and nobody else but its owner and admins."""
    services_of(request).jobs.share(caller_of(request), job_id, sharing)
    return Response(status_code=204)


def log(
    request: Request,
    job_id: JobId,
    number: Number,
    stream: Literal["stdout", "stderr"],
    seek: Position = 0,
    length: Annotated[int | None, Query(ge=0, le=1 << 50, description="Bytes.")] = None,
) -> Response:
    """Return a container's log from byte `seek` on, as far as it is there.

    X-Log-Size is the size of the whole so far; X-Log-Final says whether the container has ended, so that no more comes.
    """
    caller, service = caller_of(request), services_of(request).jobs
    first = service.log(
        caller, job_id, number, stream, seek, _PIECE if length is None else min(length, _PIECE)
    )
    total = max(0, first.size - seek)
    if length is not None:
        total = min(total, length)
    total = max(total, len(first.data))

    def pieces() -> Iterator[bytes]:
        sent = len(first.data)
        yield first.data
        while sent < total and not request.state.head:
            want = min(_PIECE, total - sent)
            piece = service.log(caller, job_id, number, stream, seek + sent, want).data
            if not piece:
                raise RuntimeError(f"the log {job_id}_{number}.{stream} has become shorter")
            sent += len(piece)
            yield piece

    return StreamingResponse(
        pieces(),
        media_type="text/plain",
        headers={
            "Content-Length": str(total),
            "Content-Disposition": f'attachment; filename="{job_id}_{number}.{stream}"',
            "X-Log-Size": str(first.size),
            "X-Log-Final": str(first.final).lower(),
            "X-Content-Type-Options": "nosniff",
        },
    )
