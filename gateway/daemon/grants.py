"""Grants: presigned URLs for exactly the objects of one container, made when its node asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.config import S3Section
from gateway.daemon.result import Host
from gateway.jobs.states import Phase
from gateway.s3.announced import expected_etag, grant_parts
from gateway.s3.client import Grant, ObjectStore
from gateway.s3.paths import MAX_KEY_BYTES
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, OutputFile

_MOST_FILES = 10_000  # of one request; the agent asks for 500 at once


class AskedOutput(BaseModel):
    """An output that a node wants to upload; `size` in bytes, checksums base64."""

    model_config = ConfigDict(extra="ignore", strict=True)

    path: str = Field(min_length=1, max_length=4096)
    size: int = Field(ge=0, lt=1 << 62)
    md5: str = Field(pattern=r"^[A-Za-z0-9+/]{22}==$")
    crc64nvme: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{11}=$")
    part_md5s: list[str] | None = None


class Request(BaseModel):
    """One file in the mailbox; see docs/node-protocol.md."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: Literal[1]
    kind: Literal["stage-in", "stage-out", "login", "phase", "result"]
    job_id: int = Field(ge=1, le=1 << 62)
    container: int = Field(ge=0, le=1 << 20)
    token: str
    slurm_job_id: str = Field(pattern=r"^[0-9]{1,20}$")
    submission: int | None = None
    seq: int = Field(ge=0, lt=1 << 62)
    inputs: list[int] = Field(default=[], max_length=_MOST_FILES)
    outputs: list[AskedOutput] = Field(default=[], max_length=_MOST_FILES)
    phase: Literal["stage-in", "run", "stage-out"] | None = None
    host: Host | None = None


class Granter:
    """Makes grants. ValueError for what a node may not have, with the text for the user."""

    def __init__(self, config: S3Section, database: Database, objects: ObjectStore) -> None:
        self._config = config
        self._db = database
        self._objects = objects

    def inputs(self, request: Request) -> list[dict[str, Any]]:
        """Grant the reading of inputs."""
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

    def outputs(self, request: Request, output_dir: str) -> list[dict[str, Any]]:
        """Grant the writing of outputs, of the bytes that the node announced."""
        bucket, _, prefix = output_dir.partition("/")
        keys = self._keys(request, prefix)
        etags = [self._expected_etag(asked) for asked in request.outputs]
        self._drop_stale(request, bucket, keys)
        rows = self._register(request, bucket, keys, etags)
        return [
            self._grant_output(row, asked) for row, asked in zip(rows, request.outputs, strict=True)
        ]

    @staticmethod
    def _keys(request: Request, prefix: str) -> list[str]:
        keys = [prefix + output_path(asked.path) for asked in request.outputs]
        for key in keys:
            if len(key.encode()) > MAX_KEY_BYTES:
                raise ValueError(
                    f"the output {key[:200]!r} has a key of over {MAX_KEY_BYTES} bytes; use shorter names"
                )
        if len(set(keys)) < len(keys):
            raise ValueError("an output was announced twice in one request")
        return keys

    def _drop_stale(self, request: Request, bucket: str, keys: Sequence[str]) -> None:
        """Abort the uploads of outputs that have other bytes now: their parts are of no use."""
        with self._db.read() as session:
            known = store.output_by_key(session, request.job_id, keys)
        for key, asked in zip(keys, request.outputs, strict=True):
            row = known.get(key)
            if (
                row is not None
                and row.container == request.container
                and row.upload_id is not None
                and (row.size, row.md5) != (asked.size, asked.md5)
            ):
                self._objects.abort_upload(bucket, key, row.upload_id)

    def _register(
        self, request: Request, bucket: str, keys: Sequence[str], etags: Sequence[str]
    ) -> list[OutputFile]:
        rows: list[OutputFile] = []
        with self._db.write() as session:
            known = store.output_by_key(session, request.job_id, keys)
            for key, asked, etag in zip(keys, request.outputs, etags, strict=True):
                row = known.get(key) or OutputFile(
                    job_id=request.job_id,
                    container=request.container,
                    bucket=bucket,
                    key=key,
                    path=asked.path,
                    size=asked.size,
                    md5=asked.md5,
                )
                if row.container != request.container:
                    raise ValueError(
                        f"containers {row.container} and {request.container} both write {bucket}/{key}; "
                        "have each write other file names, or set params.declobber"
                    )
                if (row.size, row.md5) != (asked.size, asked.md5):
                    row.upload_id = None
                row.size, row.md5, row.crc64nvme = asked.size, asked.md5, asked.crc64nvme
                row.etag = etag
                session.add(row)
                rows.append(row)
        return rows

    def _expected_etag(self, asked: AskedOutput) -> str:
        what = f"the output {asked.path!r}"
        return expected_etag(what, asked.size, asked.md5, asked.part_md5s, self._config.part_size)

    def _grant_output(self, row: OutputFile, asked: AskedOutput) -> dict[str, Any]:
        if asked.part_md5s is None or asked.size <= self._config.part_size:
            put = self._objects.grant_put(row.bucket, row.key, asked.md5, asked.crc64nvme)
            return {"path": asked.path, "put": _grant(put), "multipart": None}
        upload = self._upload(row, asked)
        multipart = grant_parts(
            self._objects, row.bucket, row.key, upload, asked.part_md5s, self._config.part_size
        )
        return {"path": asked.path, "put": None, "multipart": multipart.model_dump()}

    def _upload(self, row: OutputFile, asked: AskedOutput) -> str:
        """Return the multipart upload of an output: the one that is under way, so that its parts count, or a new one."""
        if row.upload_id is not None and self._objects.upload_open(
            row.bucket, row.key, row.upload_id
        ):
            return row.upload_id
        upload = self._objects.start_upload(row.bucket, row.key, asked.crc64nvme is not None)
        with self._db.write() as session:
            stored = session.get(OutputFile, row.id)
            container = session.get(Container, (row.job_id, row.container))
            going = container is not None and not Phase.of(container.phase).terminal
            if stored is not None and going:
                stored.upload_id = upload
                session.add(stored)
        if stored is None or not going:  # it ended or is run again: nobody would ever abort this
            self._objects.abort_upload(row.bucket, row.key, upload)
            raise ValueError("the job has ended")
        return upload


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
        ord(letter) < 32 or ord(letter) == 127 for letter in path
    ):
        raise ValueError(
            f"the output {path[:200]!r} cannot be a key: empty, dot or control characters in it"
        )
    return path
