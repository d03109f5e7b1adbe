"""result.json: what a node wrote of a container's end, read once and kept with the container.

Whoever broken out of a container may have written it: nothing of it is taken that is not of the form of
docs/node-protocol.md, so that what is kept can be shown, counted and stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.daemon.site import Site
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container

log = structlog.get_logger()
_PIECE = 1 << 20
_LARGEST = 64 << 20  # bytes
_MOST_TEXT = 10_000  # characters of an error

Outcome = Literal[
    "ok",
    "stage-in-failed",
    "image-failed",
    "container-failed",
    "timeout",
    "canceled",
    "stage-out-failed",
    "agent-failed",
]


def _is_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without a zone")
    return text


def _plain(text: str) -> str:
    return text[:_MOST_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}")


Host = Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9_.:-]*$")]
_Time = Annotated[str, AfterValidator(_is_time)]
_Code = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Times = dict[
    Literal["stage-in", "run", "stage-out"], Annotated[list[_Time | None], Field(max_length=2)]
]


class _Output(BaseModel):
    path: str
    etag: Annotated[str, Field(max_length=100)] = ""
    crc64nvme: Annotated[str, Field(max_length=12)] | None = None
    crc32: Annotated[str, Field(max_length=8)] | None = None


class Result(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: Literal[1]
    slurm_job_id: str = Field(pattern=r"^[0-9]{1,20}$")
    submission: int | None = None
    host: Host
    outcome: Outcome
    exit_code: _Code | None
    signal: _Code | None
    error: Annotated[str, AfterValidator(_plain)] | None
    times: Times
    bytes_in: Count = 0
    bytes_out: Count = 0
    image_cached: bool = False
    outputs: list[_Output]
    log_truncated: bool = False
    memory_ran_out: bool = False
    disk_full: bool = False


@dataclass(frozen=True)
class Found:
    """A result, and the submission (its row's id) that it is of."""

    result: Result
    submission_id: int | None


def read_result(site: Site, job_id: int, index: int, number: int | None) -> Result | None:
    """Read the result of a container in the submission of that number; None where there is none that can be read.

    One that an earlier submission has left is none.

    Raises
    ------
    SiteError
        When the site does not say whether there is one.
    """
    path = f"{site.container_dir(job_id, index)}/result.json"
    pieces: list[bytes] = []
    total = 0
    while True:
        piece = site.hands.read_file(path, total, _PIECE)
        if piece is None:
            return None
        pieces.append(piece)
        total += len(piece)
        if len(piece) < _PIECE or total > _LARGEST:
            break
    try:
        result = Result.model_validate_json(b"".join(pieces))
    except ValueError as exc:
        why = str(exc).splitlines()[:3]  # the rest may quote much
        log.warning("result.unreadable", job=job_id, container=index, error=why)
        return None
    # Agents of earlier releases do not say; they ran containers once.
    return result if result.submission in (None, number) else None


def keep_results(database: Database, found: Mapping[tuple[int, int], Found]) -> None:
    """Keep the results of containers (job, number) that have not ended; they have nothing left but to be settled.

    Not that of a container which is in another submission by now.
    """
    if not found:
        return
    with database.write() as session:
        for (job_id, index), each in found.items():
            row = session.get(Container, (job_id, index))
            if row is None or Phase.of(row.phase).terminal:
                continue
            if row.submission_id != each.submission_id:
                continue
            result = each.result
            kept: dict[str, Any] = result.model_dump(mode="json")
            row.result, row.exit_code, row.signal = kept, result.exit_code, result.signal
            row.node = result.host or row.node
            session.add(row)
            advance_container(session, row, Phase.SETTLING)
        for job_id in {job_id for job_id, _ in found}:
            job = store.get(session, job_id)
            if job is not None:
                follow_containers(session, job)
