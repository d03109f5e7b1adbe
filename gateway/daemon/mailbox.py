"""The mailbox of a site: nodes ask for grants and tell of phases; one listing a tick for all jobs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.config import Config
from gateway.daemon.site import Site
from gateway.errors import GatewayError
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.s3.client import Grant, ObjectStore, S3UnavailableError
from gateway.s3.paths import MAX_KEY_BYTES
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job, OutputFile

log = structlog.get_logger()
_MOST = 1000
_IDLE = 1.0


class AskedOutput(BaseModel):
    """An output that a node wants to upload; `size` in bytes, checksums base64."""

    model_config = ConfigDict(extra="ignore", strict=True)

    path: str = Field(min_length=1, max_length=4096)
    size: int = Field(ge=0)
    md5: str = Field(pattern=r"^[A-Za-z0-9+/]{22}==$")
    crc64nvme: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{11}=$")
    part_md5s: list[str] | None = None


class Request(BaseModel):
    """One file in the mailbox; see docs/node-protocol.md."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: Literal[1]
    kind: Literal["stage-in", "stage-out", "phase", "result"]
    job_id: int
    container: int
    token: str
    slurm_job_id: str = Field(pattern=r"^[0-9]+$")
    seq: int = Field(ge=0)
    inputs: list[int] = []
    outputs: list[AskedOutput] = []
    phase: Literal["stage-in", "run", "stage-out"] | None = None


class Mailbox:
    """The loop that serves one site's mailbox."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, site: Site
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._site = site

    def tick(self) -> float:
        """Answer what is there; returns the seconds to wait."""
        with self._db.read() as session:
            if not store.active(session, self._site.name):
                return _IDLE
        letters = self._site.hands.scan(self._site.mailbox, _MOST)
        answers: list[tuple[str, bytes]] = []
        done: list[str] = []
        for name, data in letters:
            try:
                request = Request.model_validate_json(data)
                answer = self._serve(request)
            except S3UnavailableError as exc:
                log.warning("grant.waits", request=name, error=str(exc))
                continue
            except (ValidationError, ValueError) as exc:
                log.warning("mailbox.refused", request=name, error=str(exc).splitlines()[0])
            else:
                if answer is not None:
                    folder = self._site.container_dir(request.job_id, request.container)
                    path = f"{folder}/grants/{request.slurm_job_id}.{request.seq}.json"
                    answers.append((path, json.dumps(answer).encode()))
            done.append(f"{self._site.mailbox}/{name}")
        if answers:
            self._site.hands.write_files(answers)
        if done:
            self._site.hands.remove(done)
        return self._site.section.mailbox_seconds

    def _serve(self, request: Request) -> dict[str, Any] | None:
        with self._db.read() as session:
            job = store.get(session, request.job_id)
            container = session.get(Container, (request.job_id, request.container))
        if job is None or container is None or not hmac.compare_digest(job.token, request.token):
            raise ValueError("no such container, or a wrong token")
        if request.kind == "phase":
            self._moved(request)
            return None
        if request.kind == "result":
            self._result(request)
            return None
        error = None
        granted: dict[str, Any] = {"inputs": [], "outputs": []}
        if Phase.of(container.phase).terminal:
            error = "the job has ended"
        else:
            try:
                if request.kind == "stage-in":
                    granted["inputs"] = self._grant_inputs(request)
                else:
                    granted["outputs"] = self._grant_outputs(request, job)
            except S3UnavailableError:
                raise
            except GatewayError as exc:
                error = exc.message
            except ValueError as exc:
                error = str(exc)
        expires = time.time() + self._config.s3.grant_seconds
        return {"version": 1, "seq": request.seq, "expires": expires, "error": error, **granted}

    def _moved(self, request: Request) -> None:
        phase = Phase.of(request.phase or "stage-in")
        with self._db.write() as session:
            job = store.get(session, request.job_id)
            container = session.get(Container, (request.job_id, request.container))
            if job is None or container is None:
                return
            if advance_container(session, container, phase) and job.cancel_by is None:
                session.flush()
                job.reason = None
                follow_containers(session, job, store.containers(session, request.job_id))

    def _result(self, request: Request) -> None:
        path = f"{self._site.container_dir(request.job_id, request.container)}/result.json"
        data = self._whole(path)
        if data is None:
            return
        record_result(self._db, request.job_id, request.container, data)
        self._site.poll_wake.set()

    def _whole(self, path: str) -> bytes | None:
        return read_whole(self._site, path)

    def _grant_inputs(self, request: Request) -> list[dict[str, Any]]:
        with self._db.read() as session:
            mine = {
                item.id: item for item in store.inputs(session, request.job_id, request.container)
            }
        unknown = [number for number in request.inputs if number not in mine]
        if unknown:
            raise ValueError(f"input {unknown[0]} is none of this container's")
        return [
            {"id": number, **_grant(self._objects.grant_get(mine[number].bucket, mine[number].key))}
            for number in request.inputs
        ]

    def _grant_outputs(self, request: Request, job: Job) -> list[dict[str, Any]]:
        bucket, _, prefix = job.output_dir.partition("/")
        rows = self._register(request, bucket, prefix)
        return [
            self._grant_output(row, asked) for row, asked in zip(rows, request.outputs, strict=True)
        ]

    def _register(self, request: Request, bucket: str, prefix: str) -> list[OutputFile]:
        keys = [prefix + output_path(asked.path) for asked in request.outputs]
        for key in keys:
            if len(key.encode()) > MAX_KEY_BYTES:
                raise ValueError(
                    f"the output {key[:200]!r} has a key of over {MAX_KEY_BYTES} bytes; use shorter names"
                )
        rows = []
        with self._db.write() as session:
            known = store.output_by_key(session, request.job_id, keys)
            for key, asked in zip(keys, request.outputs, strict=True):
                row = known.get(key)
                if row is not None and row.container != request.container:
                    raise ValueError(
                        f"containers {row.container} and {request.container} both write {bucket}/{key}; "
                        "have each write other file names"
                    )
                if row is None:
                    row = OutputFile(
                        job_id=request.job_id,
                        container=request.container,
                        bucket=bucket,
                        key=key,
                        path=asked.path,
                        size=asked.size,
                        md5=asked.md5,
                    )
                row.size, row.md5, row.crc64nvme = asked.size, asked.md5, asked.crc64nvme
                row.etag = self._expected_etag(asked)
                session.add(row)
                rows.append(row)
        return rows

    def _expected_etag(self, asked: AskedOutput) -> str:
        if asked.size <= self._config.s3.part_size:
            return base64.b64decode(asked.md5).hex()
        count = -(-asked.size // self._config.s3.part_size)
        if asked.part_md5s is None or len(asked.part_md5s) != count:
            raise ValueError(f"{asked.path!r} needs the MD5 of each of its {count} parts")
        parts = b"".join(base64.b64decode(part) for part in asked.part_md5s)
        return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{count}"

    def _grant_output(self, row: OutputFile, asked: AskedOutput) -> dict[str, Any]:
        if asked.part_md5s is None or asked.size <= self._config.s3.part_size:
            put = self._objects.grant_put(row.bucket, row.key, asked.md5, asked.crc64nvme)
            return {"path": asked.path, "put": _grant(put), "multipart": None}
        if row.upload_id is not None:
            self._objects.abort_upload(row.bucket, row.key, row.upload_id)
        upload = self._objects.start_upload(row.bucket, row.key, asked.crc64nvme is not None)
        with self._db.write() as session:
            stored = session.get(OutputFile, row.id)
            if stored is not None:
                stored.upload_id = upload
                session.add(stored)
        parts = [
            {
                "number": number,
                **_grant(self._objects.grant_part(row.bucket, row.key, upload, number, md5)),
            }
            for number, md5 in enumerate(asked.part_md5s, 1)
        ]
        complete = _grant(self._objects.grant_complete(row.bucket, row.key, upload))
        multipart = {"part_size": self._config.s3.part_size, "parts": parts, "complete": complete}
        return {"path": asked.path, "put": None, "multipart": multipart}


def _grant(grant: Grant) -> dict[str, Any]:
    return {"url": grant.url, "headers": grant.headers}


def output_path(path: str) -> str:
    """Check a path that a node says lies in the output directory; returns it.

    Raises
    ------
    ValueError
        When it leads elsewhere or cannot be a key.
    """
    segments: Sequence[str] = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or any(
        ord(letter) < 32 for letter in path
    ):
        raise ValueError(
            f"the output {path[:200]!r} cannot be a key: empty, dot or control characters in it"
        )
    return path


def read_whole(site: Site, path: str, most: int = 64 << 20) -> bytes | None:
    """Read a file of a site whole; None when it is not there."""
    pieces: list[bytes] = []
    total = 0
    while total < most:
        piece = site.hands.read_file(path, total)
        if piece is None:
            return None
        if not piece:
            break
        pieces.append(piece)
        total += len(piece)
    return b"".join(pieces)


def record_result(database: Database, job_id: int, index: int, data: bytes) -> bool:
    """Keep what result.json says of a container; tell whether it could be read."""
    try:
        result = json.loads(data)
    except ValueError:
        log.warning("result.unreadable", job=job_id, container=index)
        return False
    if not isinstance(result, dict) or result.get("version") != 1:
        log.warning("result.unreadable", job=job_id, container=index)
        return False
    with database.write() as session:
        job = store.get(session, job_id)
        container = session.get(Container, (job_id, index))
        if job is None or container is None or Phase.of(container.phase).terminal:
            return False
        container.result = result
        exit_code, signal = result.get("exit_code"), result.get("signal")
        container.exit_code = exit_code if isinstance(exit_code, int) else None
        container.signal = signal if isinstance(signal, int) else None
        container.node = str(result.get("host") or "") or container.node
        session.add(container)
        advance_container(session, container, Phase.SETTLING)
        session.flush()
        if job.cancel_by is None:
            follow_containers(session, job, store.containers(session, job_id))
    return True
