"""What handlers take from a request: services, caller, and parameters that are read strictly."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Path, Query
from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import Request

from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id
from gateway.jobs.caller import Caller
from gateway.jobs.services import Services

# All query parameters of the protocol, those that no route takes yet among them.
PROTOCOL = frozenset({
    "after", "before", "cluster", "crc64nvme", "cursor", "default_refdata_mount_point", "dry_run", "force", "image",
    "label", "length", "limit", "name", "reason", "refdata_id", "seek", "shared", "state", "unpack", "user",
})  # fmt: skip

_CONTAINER = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)


def services_of(request: Request) -> Services:
    """Return what stands behind the routes."""
    services: Services = request.app.state.services
    return services


def limiter_of(request: Request, what: str, most: int) -> CapacityLimiter:
    """Return what bounds the threads that work at requests of one kind, `most` at one time; made at the first of them."""
    state = request.app.state
    if not hasattr(state, what):
        setattr(state, what, CapacityLimiter(most))
    limiter: CapacityLimiter = getattr(state, what)
    return limiter


def caller_of(request: Request) -> Caller:
    """Return who asks; the route's access has seen to it that there is somebody."""
    caller: Caller = request.state.caller
    return caller


def _container_number(text: object) -> int:
    if not isinstance(text, str) or not _CONTAINER.fullmatch(text):
        raise GatewayError(
            AppCode.NO_SUCH_SUBJOB,
            f"No such container: {str(text)[:100]!r}. Containers are counted from 0.",
        )
    return int(text)


def _job_id(text: object) -> int:
    return parse_job_id(str(text))


def _time(text: object) -> object:
    """Read a time of ISO 8601 with a zone; other types (defaults) pass."""
    if not isinstance(text, str):
        return text
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    hint = " (a + in a URL is written %2B)" if " " in text else ""
    raise GatewayError(
        AppCode.ILLEGAL_PARAMETER,
        f"{text[:100]!r} is no time of ISO 8601 with a zone; write 2026-01-31T12:00:00Z{hint}.",
    )


JobId = Annotated[
    int,
    BeforeValidator(_job_id),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*$", "examples": ["1234"]}),
    Path(description="The job's id."),
]
Number = Annotated[
    int,
    BeforeValidator(_container_number),
    WithJsonSchema({"type": "integer", "minimum": 0}),
    Path(description="The container, counted from 0."),
]
Time = Annotated[
    datetime | None,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Query(description="ISO 8601 with a zone."),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
Position = Annotated[int, Query(ge=0, le=1 << 50, description="Bytes.")]
Words = Annotated[list[str] | None, Query(description="May be there more than once.")]


def check_query(known: Mapping[str, bool]) -> Callable[[Request], None]:
    """Make a check that refuses query parameters that the route does not have.

    A filter with a slip of the pen would else list everything, and `dry_run` would submit. Clients that keep to
    the protocol send no others, and what it has and this route has not yet is UNSUPPORTED, not a slip.

    Parameters
    ----------
    known
        The parameters, and whether each may be there more than once. Filled later: it is looked at when a request comes.
    """

    def check(request: Request) -> None:
        seen = Counter(name for name, _ in request.query_params.multi_items())
        for name, count in seen.items():
            if name not in known and name in PROTOCOL:
                raise GatewayError(
                    AppCode.UNSUPPORTED,
                    f"{name}: {request.method} {request.url.path} does not take this query parameter; leave it out.",
                )
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"known here: {', '.join(known)}" if known else "this route takes none"
                if near:
                    hint = f"did you mean {near[0]!r}?"
                raise GatewayError(
                    AppCode.ILLEGAL_PARAMETER, f"Unknown query parameter {name[:100]!r}; {hint}."
                )
            if count > 1 and not known[name]:
                raise GatewayError(
                    AppCode.ILLEGAL_PARAMETER,
                    f"The query parameter {name!r} is there {count} times; give it once.",
                )

    return check


def error_schema() -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI is to say of errors."""
    from gateway.wire import ErrorBody  # noqa: PLC0415

    return {
        "4XX": {"model": ErrorBody, "description": "Refused; `appcode` says why."},
        "5XX": {"model": ErrorBody, "description": "The gateway failed."},
    }
