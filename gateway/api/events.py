"""Handlers of /events and /webhooks."""

from __future__ import annotations

import re
from typing import Annotated

from anyio import to_thread
from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway import wire
from gateway.api.admin import State
from gateway.api.params import Words, caller_of, services_of
from gateway.api.streams import Streams, stream
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id
from gateway.jobs.feed import Wanted

_EVENT = re.compile(r"[0-9]{1,18}", re.ASCII)
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

EventId = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,18}$"}),
    Query(description="As the header Last-Event-ID, which goes before it."),
]
LastEventId = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,18}$"}),
    Header(
        alias="Last-Event-ID",
        description="The last event that was received; those after it are sent. 0: all.",
    ),
]
WebhookId = Annotated[str, Path(description="A webhook's id.", examples=["7"])]


class WebhookInput(BaseModel):
    """The body of POST /webhooks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"url": "https://hooks.example.org/cts", "states": ["complete", "error"]}
        },
    )

    url: Annotated[str, Field(max_length=2000)]
    states: Annotated[list[State], Field(max_length=50)] = []
    containers: bool = False
    secret: Annotated[str, Field(max_length=200)] | None = None


async def events(
    request: Request,
    job: Words = None,
    state: Annotated[
        list[State] | None, Query(description="A state of the wire, or a phase.")
    ] = None,
    everyone: bool = False,
    containers: Annotated[bool, Query(description="Also those of containers.")] = False,
    follow: Annotated[bool, Query(description="false: what there is now, and no more.")] = True,
    last_event_id: EventId = None,
    last_event_id_header: LastEventId = None,
) -> Response:
    """Stream events as they happen (text/event-stream): each change of a state of the caller's jobs, or of those named.

    Each has its id; who comes back with the last one as Last-Event-ID gets all later ones, none twice. For admins also
    everyone's.
    """
    caller = caller_of(request)
    streams: Streams = request.app.state.streams
    streams.check(caller.user)
    service = services_of(request).events
    last = _event(last_event_id_header if last_event_id_header is not None else last_event_id)
    jobs = [parse_job_id(text) for text in dict.fromkeys(job or ())]

    def begin() -> tuple[Wanted, int]:
        wanted = service.wanted(
            caller, jobs=jobs, states=state or [], everyone=everyone, containers=containers
        )
        return wanted, service.begin(last)

    wanted, cursor = await to_thread.run_sync(begin)
    if request.state.head:
        return Response(media_type="text/event-stream", headers=_HEADERS)

    async def still() -> bool:
        """Whether the caller is who it was: a token may have been revoked, an admin may be none any more."""
        try:
            now = await request.app.state.identity.caller(request)
        except GatewayError:
            return False
        return now.user == caller.user and (now.admin or not caller.admin)

    pieces = stream(
        streams,
        service,
        caller.user,
        wanted,
        cursor,
        follow=follow,
        still=still,
    )
    return StreamingResponse(pieces, media_type="text/event-stream", headers=_HEADERS)


def _event(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not _EVENT.fullmatch(text):
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"Last-Event-ID: {text[:100]!r} is no id of an event; they are whole numbers, 0 for all there ever were.",
        )
    return int(text)


def add(request: Request, wanted: WebhookInput) -> wire.NewWebhook:
    """Have the caller's events sent to a URL from now on; the secret is told this once."""
    return services_of(request).webhooks.add(
        caller_of(request),
        wanted.url,
        states=wanted.states,
        containers=wanted.containers,
        secret=wanted.secret,
    )


def mine(request: Request) -> wire.Webhooks:
    """List the caller's webhooks, with how they are."""
    return wire.Webhooks(webhooks=services_of(request).webhooks.mine(caller_of(request)))


def delete(request: Request, webhook_id: WebhookId) -> Response:
    """Remove a webhook of the caller's."""
    services_of(request).webhooks.delete(caller_of(request), webhook_id)
    return Response(status_code=204)


def test(request: Request, webhook_id: WebhookId) -> wire.WebhookTest:
    """Send a test event to a webhook now; one that was disabled goes on when that works."""
    return services_of(request).webhooks.test(caller_of(request), webhook_id)


def everybodys(request: Request) -> wire.Webhooks:
    """List all webhooks, those of the configuration and Kafka among them."""
    return wire.Webhooks(webhooks=services_of(request).webhooks.everything())


def delete_anybodys(request: Request, webhook_id: WebhookId) -> Response:
    """Remove anybody's webhook."""
    services_of(request).webhooks.delete(caller_of(request), webhook_id, anybodys=True)
    return Response(status_code=204)
