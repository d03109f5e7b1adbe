"""Files of users, in and out: presigned requests for the objects that a caller may use. Data never comes through here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field

from gateway import wire
from gateway.config import Config
from gateway.errors import AppCode, GatewayError
from gateway.jobs import access
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.fields import Crc64Nvme
from gateway.jobs.unknown_uploads import BEGUN, abort_unknown
from gateway.s3.announced import expected_etag, grant_parts, wire_grant
from gateway.s3.client import Checksum, ObjectInfo, ObjectStore
from gateway.s3.parts import MOST_PARTS
from gateway.s3.paths import MAX_KEY_BYTES, S3Path, parse_object
from gateway.store import jobs as store
from gateway.store import uploads
from gateway.store.db import Database
from gateway.store.tables import Upload

log = structlog.get_logger()

MOST_FILES = 500  # of one request
KEPT = timedelta(days=7)  # for a multipart upload to go on
_PERIOD = 3600.0
_ENOUGH = 100  # stale uploads of one tick
Md5 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{21}[AQgw]==$", description="base64")]


class Announced(BaseModel):
    """A file that shall be uploaded. `part_md5s`: of a file larger than a part, the MD5 of each."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: Annotated[str, Field(max_length=4096, description="bucket/key")]
    size: Annotated[int, Field(ge=0, lt=1 << 62, description="Bytes.")]
    md5: Md5
    crc64nvme: Crc64Nvme | None = None
    part_md5s: Annotated[list[Md5], Field(min_length=1, max_length=MOST_PARTS)] | None = None


class Files:
    """Grants for users, who hold no S3 keys. `public` presigns for the endpoint that they reach."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, public: ObjectStore
    ) -> None:
        self._config = config
        self._db = database
        self._objects = objects
        self._public = public

    def write(self, caller: Caller, files: Sequence[Announced], part_size: int) -> wire.Uploads:
        """Grant the upload of exactly the bytes that were announced; a file that is there with them needs none.

        Raises
        ------
        GatewayError
            ILLEGAL_S3_PATH, S3_PATH_INACCESSIBLE, the S3 codes of the bucket, ILLEGAL_PARAMETER for a file that cannot be.
        """
        paths = self._allowed(caller, [one.file for one in files], "write")
        etags = [self._etag(one, part_size) for one in files]
        if sum(len(one.part_md5s or ()) for one in files) > MOST_PARTS:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"files: they have over {MOST_PARTS} parts together; ask for fewer at a time, or have larger parts.",
            )
        for path in {path.bucket: path for path in paths}.values():
            self._objects.check_writable(path.bucket, _folder(path))
        found = self._objects.look([(path.bucket, path.key) for path in paths])
        expires = self._expiry()
        with self._db.write() as session:
            size = sum(one.size for one in files)
            audit(
                session,
                caller,
                "files.write",
                _told(paths),
                f"ok: {len(files)} files, {size} bytes",
            )
        granted = [
            self._grant(caller, path, one, part_size, there=_same(info, one.size, etag))
            for path, one, etag, info in zip(paths, files, etags, found, strict=True)
        ]
        return wire.Uploads(uploads=granted, expires=expires)

    def read(self, caller: Caller, files: Sequence[str]) -> wire.Downloads:
        """Grant the reading of objects, and say what their bytes are checked with.

        Raises
        ------
        GatewayError
            ILLEGAL_S3_PATH, S3_PATH_INACCESSIBLE, S3_PATH_NOT_FOUND and the other codes of `ObjectStore.inspect`.
        """
        paths = self._allowed(caller, files, "read")
        found = self._objects.inspect_all([(path.bucket, path.key) for path in paths])
        expires = self._expiry()
        granted = [
            wire.Download(
                file=str(path),
                size=info.size,
                etag=info.etag,
                part_sizes=info.part_sizes,
                crc64nvme=info.crc64nvme,
                **wire_grant(self._public.grant_get(path.bucket, path.key)).model_dump(),
            )
            for path, info in zip(paths, found, strict=True)
        ]
        with self._db.write() as session:
            audit(session, caller, "files.read", _told(paths), f"ok: {len(paths)} files")
        return wire.Downloads(downloads=granted, expires=expires)

    def tick(self) -> float:
        """Abort multipart uploads that nobody went on with for some days; returns the seconds to wait."""
        with self._db.read() as session:
            stale = uploads.older(session, store.now() - KEPT, _ENOUGH)
        for row in stale:
            try:
                if row.upload_id == BEGUN:
                    abort_unknown(self._db, self._objects, row.bucket, row.key)
                else:
                    self._objects.abort_upload(row.bucket, row.key, row.upload_id)
            except GatewayError as exc:  # the bucket is gone, or not ours any more
                log.warning("files.stale", bucket=row.bucket, key=row.key, error=exc.message)
            with self._db.write() as session:
                uploads.forget(session, row)
        return 0.0 if len(stale) == _ENOUGH else _PERIOD

    def _allowed(self, caller: Caller, files: Sequence[str], perm: access.Perm) -> list[S3Path]:
        paths = [parse_object(file) for file in files]
        for path in paths:
            access.require(self._config.path_rules, caller, str(path), perm)
        if len(set(paths)) < len(paths):
            twice = next(path for n, path in enumerate(paths) if path in paths[:n])
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER, f"files: {twice} is there twice; name each file once."
            )
        return paths

    def _etag(self, asked: Announced, part_size: int) -> str:
        most = self._config.s3.max_upload
        if asked.size > most:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"{asked.file} has {asked.size} bytes; this gateway takes files of at most {most}.",
            )
        if asked.part_md5s is not None and asked.size <= part_size:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"{asked.file} is not larger than a part; leave part_md5s out.",
            )
        try:
            return expected_etag(asked.file, asked.size, asked.md5, asked.part_md5s, part_size)
        except ValueError as exc:
            raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"{exc}.") from exc

    def _grant(
        self, caller: Caller, path: S3Path, asked: Announced, part_size: int, *, there: bool
    ) -> wire.Upload:
        if there:
            return wire.Upload(file=str(path), there=True)
        bucket, key = path.bucket, path.key
        if asked.part_md5s is None:
            crc = asked.crc64nvme
            put = self._public.grant_put(
                bucket, key, asked.md5, None if crc is None else Checksum("CRC64NVME", crc)
            )
            return wire.Upload(file=str(path), there=False, put=wire_grant(put))
        upload, has = self._upload(caller, path, asked, part_size)
        parts = grant_parts(self._public, bucket, key, upload, asked.part_md5s, part_size, has)
        return wire.Upload(file=str(path), there=False, multipart=parts)

    def _upload(
        self, caller: Caller, path: S3Path, asked: Announced, part_size: int
    ) -> tuple[str, list[wire.PartThere]]:
        """Return the multipart upload of these bytes, and its parts: the caller's that is under way, or a new one."""
        wanted = Upload(
            user=caller.user,
            bucket=path.bucket,
            key=path.key,
            size=asked.size,
            md5=asked.md5,
            crc64nvme=asked.crc64nvme is not None,
            part_size=part_size,
            upload_id=BEGUN,
            created=store.now(),
        )
        with self._db.read() as session:
            known = uploads.same(session, wanted)
        if known is not None:
            has = self._objects.parts_there(path.bucket, path.key, known.upload_id)
            if has is not None:
                return known.upload_id, has
            with self._db.write() as session:
                uploads.forget(session, known)
        with self._db.write() as session:
            session.add(wanted)  # before it begins: what the daemon dies over is found by this row
        upload = self._objects.start_upload(
            path.bucket, path.key, None if asked.crc64nvme is None else "CRC64NVME"
        )
        with self._db.write() as session:
            wanted.upload_id = upload
            session.add(wanted)
        return upload, []

    def _expiry(self) -> datetime:
        return store.now() + timedelta(seconds=self._config.s3.grant_seconds)


def _same(info: ObjectInfo | None, size: int, etag: str) -> bool:
    return info is not None and (info.size, info.etag) == (size, etag)


def _folder(path: S3Path) -> str:
    """Return the prefix that an object lies at; none where there is no room for another name below it."""
    folder = path.key.removesuffix(path.basename)
    return folder if len(folder.encode()) < MAX_KEY_BYTES - 24 else ""


def _told(paths: Sequence[S3Path]) -> str:
    """Name what is asked for, in the audit log: all of it as far as there is room."""
    return " ".join(str(path) for path in paths)
