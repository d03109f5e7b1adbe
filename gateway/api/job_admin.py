"""Handlers of /admin/jobs/{id}: what only admins do with a job."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway import wire
from gateway.api.admin import State
from gateway.api.params import JobId, caller_of, services_of

MOST_KEYS = 100
_MOST_NUMBER = 1 << 53  # what JSON's readers keep exactly
_LONGEST = 1000  # characters


def _value(value: object) -> object:
    """Take a truth, a number or a text, within bounds."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > _MOST_NUMBER:
        raise ValueError(f"must be a whole number up to {_MOST_NUMBER} either way")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise ValueError(f"must have at most {_LONGEST} characters")
        if not all(letter.isprintable() or letter in "\t\n" for letter in value):
            raise ValueError("must be printable text, with tabs and ends of lines at most")
    return value


Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,100}$")]
Value = Annotated[bool | int | float | str, BeforeValidator(_value)]


class MetaInput(BaseModel):
    """The body of PUT /admin/jobs/{id}/meta."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"set_fields": {"ticket": "HPC-77"}, "unset_keys": ["old"]}},
    )

    set_fields: Annotated[dict[Key, Value], Field(max_length=MOST_KEYS)] = {}
    unset_keys: Annotated[list[Key], Field(max_length=MOST_KEYS)] = []


def admin_job(request: Request, job_id: JobId) -> wire.AdminJob:
    """Return any job with its Slurm submissions and what of it is still at its site."""
    return services_of(request).job_admin.job(caller_of(request), job_id)


def runner_status(
    request: Request,
    job_id: JobId,
    container: Annotated[
        int | None, Query(ge=0, le=999_999, description="Of this container alone.")
    ] = None,
) -> wire.RunnerStatus:
    """Ask Slurm now what it says of a job, and return that raw."""
    return services_of(request).job_admin.runner_status(caller_of(request), job_id, container)


def meta(request: Request, job_id: JobId, wanted: MetaInput) -> Response:
    """Set and unset fields of a job's `admin_meta`. To unset one that is not there is no error."""
    services_of(request).job_admin.set_meta(
        caller_of(request), job_id, wanted.set_fields, wanted.unset_keys
    )
    return Response(status_code=204)


def clean(
    request: Request,
    job_id: JobId,
    force: Annotated[
        bool,
        Query(
            description="Cancel a job that runs first, and do not wait for its logs to be in S3."
        ),
    ] = False,
) -> Response:
    """Have a job's directory removed from its site, logs and all; 30300 while the job runs, unless it is forced."""
    services_of(request).job_admin.clean(caller_of(request), job_id, force=force)
    return Response(status_code=204)


def notify(
    request: Request,
    job_id: JobId,
    state: Annotated[State | None, Query(description="The last one of it by default.")] = None,
) -> Response:
    """Send the event of a job's coming to a state to the subscribers once more: webhooks and Kafka."""
    services_of(request).job_admin.notify(caller_of(request), job_id, state)
    return Response(status_code=204)
