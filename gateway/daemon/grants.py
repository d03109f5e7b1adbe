"""Grants: presigned URLs for exactly the objects of one container, made when its node asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.config import S3Section
from gateway.daemon.output_uploads import OutputUploads, lock_of
from gateway.daemon.result import Host
from gateway.s3.announced import expected_etag, grant_parts
from gateway.s3.client import Algorithm, Checksum, Grant, ObjectStore
from gateway.s3.parts import MOST_BYTES, part_size_for
from gateway.s3.paths import MAX_KEY_BYTES
from gateway.s3.stores import section_of
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import OutputFile

_MOST_FILES = 10_000  # of one request; the agent asks for 500 at once


class AskedChecksum(BaseModel):
    """The CRC of an output, base64; without a value where it is found as the parts are sent."""

    model_config = ConfigDict(extra="ignore", strict=True)

    algorithm: Algorithm
    value: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{6,11}={1,2}$")


class AskedOutput(BaseModel):
    """An output that a node wants to upload; `size` in bytes, checksums base64. Either `checksum` or `md5` is there."""

    model_config = ConfigDict(extra="ignore", strict=True)

    path: str = Field(min_length=1, max_length=4096)
    size: int = Field(ge=0, lt=1 << 62)
    checksum: AskedChecksum | None = None
    md5: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{22}==$")
    crc64nvme: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{11}=$")
    part_md5s: list[str] | None = None

    @property
    def crc(self) -> Checksum | None:
        """The CRC of all, where it is known."""
        if self.checksum is not None and self.checksum.value is not None:
            return Checksum(self.checksum.algorithm, self.checksum.value)
        return None if self.crc64nvme is None else Checksum("CRC64NVME", self.crc64nvme)

    @property
    def algorithm(self) -> Algorithm | None:
        """The CRC that the store shall keep."""
        if self.checksum is not None:
            return self.checksum.algorithm
        return None if self.crc64nvme is None else "CRC64NVME"


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
        self._uploads = OutputUploads(database, objects)

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
        part_size = section_of(self._config, bucket).part_size
        etags = [
            _expected_etag(asked, part_size_for(asked.size, part_size)) for asked in request.outputs
        ]
        with lock_of(request.job_id, request.container):
            self._drop_stale(request, keys)
            rows = self._register(request, bucket, keys, etags)
            return [
                self._grant_output(row, asked, part_size_for(asked.size, part_size))
                for row, asked in zip(rows, request.outputs, strict=True)
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

    def _drop_stale(self, request: Request, keys: Sequence[str]) -> None:
        """Abort the uploads of outputs that have other bytes now: their parts are of no use."""
        with self._db.read() as session:
            known = store.output_by_key(session, request.job_id, keys)
        for key, asked in zip(keys, request.outputs, strict=True):
            row = known.get(key)
            if (
                row is not None
                and row.container == request.container
                and (row.size, row.md5) != (asked.size, asked.md5 or "")
            ):
                self._uploads.drop(row)

    def _register(
        self, request: Request, bucket: str, keys: Sequence[str], etags: Sequence[str | None]
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
                    md5=asked.md5 or "",
                )
                if row.container != request.container:
                    raise ValueError(
                        f"containers {row.container} and {request.container} both write {bucket}/{key}; "
                        "have each write other file names, or set params.declobber"
                    )
                if (row.size, row.md5) != (asked.size, asked.md5 or ""):
                    row.upload_id = None
                row.size, row.md5 = asked.size, asked.md5 or ""
                row.crc64nvme = (
                    asked.crc.value if asked.crc and asked.algorithm == "CRC64NVME" else None
                )
                row.etag = etag
                session.add(row)
                rows.append(row)
        return rows

    def _grant_output(self, row: OutputFile, asked: AskedOutput, part_size: int) -> dict[str, Any]:
        if asked.size <= part_size:
            put = self._objects.grant_put(row.bucket, row.key, asked.md5, asked.crc)
            return {"path": asked.path, "put": _grant(put), "multipart": None}
        upload, there = self._uploads.open(row, asked.algorithm)
        count = -(-asked.size // part_size)
        md5s: Sequence[str | None] = asked.part_md5s or [None] * count
        multipart = grant_parts(self._objects, row.bucket, row.key, upload, md5s, part_size, there)
        return {"path": asked.path, "put": None, "multipart": multipart.model_dump()}


def _expected_etag(asked: AskedOutput, part_size: int) -> str | None:
    """Return the ETag that S3 will give an output; None where its node will say."""
    what = f"the output {asked.path!r}"
    if asked.size > MOST_BYTES:
        raise ValueError(
            f"{what} has {asked.size} bytes, and S3 takes {MOST_BYTES} at most; write smaller files"
        )
    if asked.md5 is not None:
        return expected_etag(what, asked.size, asked.md5, asked.part_md5s, part_size)
    if asked.checksum is None or (asked.size <= part_size and asked.checksum.value is None):
        raise ValueError(f"{what} was announced without a checksum")
    return None


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
