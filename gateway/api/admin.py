"""Handlers of lists over more than the caller's own: everyone's jobs, and the accounting."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import WithJsonSchema
from starlette.requests import Request

from gateway import wire
from gateway.api.lists import Cursor, ImageFilter, Labels, Name, narrowed, page
from gateway.api.params import Limit, Time, Words, caller_of, services_of
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_ref
from gateway.jobs.states import WIRE_STATES, Phase, phases_named
from gateway.reports.acct import PHASES_OF, Wanted

_STATES = list(dict.fromkeys([*WIRE_STATES, *(str(phase) for phase in Phase)]))
State = Annotated[str, WithJsonSchema({"type": "string", "enum": _STATES})]
AcctState = Annotated[str, WithJsonSchema({"type": "string", "enum": [*_STATES, *PHASES_OF]})]


def admin_jobs(
    request: Request,
    user: str | None = None,
    cluster: str | None = None,
    state: wire.WireState | None = None,
    after: Time = None,
    before: Time = None,
    limit: Limit = 1000,
    name: Name = None,
    label: Labels = None,
    image: ImageFilter = None,
    cursor: Cursor = None,
) -> wire.Jobs:
    """List everyone's jobs, or one user's."""
    narrow = narrowed(name, label, image, cursor)
    found = services_of(request).jobs.list_jobs(
        caller_of(request),
        cluster=cluster,
        state=state,
        after=after,
        before=before,
        limit=limit,
        user=user,
        everyone=user is None,
        narrow=narrow,
    )
    return page(found, limit, narrow)


def accounting(
    request: Request,
    user: Words = None,
    everyone: bool = False,
    start: Time = None,
    end: Time = None,
    state: Annotated[
        list[AcctState] | None,
        Query(description="A state of the wire, a phase, or Slurm's word for a state."),
    ] = None,
    job: Words = None,
    account: Words = None,
    cluster: Words = None,
    partition: Words = None,
    qos: Words = None,
    name: Words = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Jobs at most.")] = 10_000,
) -> wire.AcctRows:
    """Return accounting rows of jobs, containers and phases: the caller's; for admins also others'.

    `state` takes states of the wire, phases, and Slurm's words as a row's State has them; `name` that of a job; `cluster`
    is a site.
    """
    caller = caller_of(request)
    if not caller.admin and (everyone or set(user or ()) - {caller.user}):
        raise GatewayError(
            AppCode.UNAUTHORIZED,
            f"{caller.user} is no admin of this gateway, and the accounting of others is for admins.",
        )
    words = [word for word in state or () if word in PHASES_OF]
    wanted = Wanted(
        start=start,
        end=end,
        phases=[phase for word in state or () if word not in words for phase in phases_named(word)],
        words=words,
        refs=[parse_ref(text) for text in job or ()],
        accounts=account or (),
        sites=cluster or (),
        partitions=partition or (),
        qos=qos or (),
        names=name or (),
        limit=limit,
    )
    rows: list[wire.AcctRow] = []
    for who in dict.fromkeys(user or ()) or [None]:
        rows += services_of(request).info.accounting(
            caller, users=[] if who is None else [who], everyone=everyone, wanted=wanted
        )
    return wire.AcctRows(rows=rows)
