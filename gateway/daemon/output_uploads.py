"""Multipart uploads of outputs: begun once, gone on with, and none left behind, whatever dies when.

That one is to begin is written down before it is begun, and its id after. Where only the first was done, the id is lost: what is
under way at that key and known to nobody is aborted.
"""

from __future__ import annotations

import threading

import structlog

from gateway.errors import GatewayError
from gateway.jobs.states import Phase
from gateway.jobs.unknown_uploads import BEGUN, abort_unknown
from gateway.s3.client import Algorithm, ObjectStore, S3UnavailableError
from gateway.store.db import Database
from gateway.store.tables import Container, OutputFile
from gateway.wire import PartThere

log = structlog.get_logger()
_LOCKS = [threading.Lock() for _ in range(64)]


def lock_of(job_id: int, container: int) -> threading.Lock:
    """Return what is held while uploads of a container begin: its requests may come by two roads at once."""
    return _LOCKS[hash((job_id, container)) % len(_LOCKS)]


class OutputUploads:
    """The multipart uploads of containers' outputs."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._db = database
        self._objects = objects

    def open(self, row: OutputFile, algorithm: Algorithm | None) -> tuple[str, list[PartThere]]:
        """Return the id of an output's upload, and the parts that it has: of the one that is under way, or of a new one.

        The container's lock is held.

        Raises
        ------
        ValueError
            When the container has ended meanwhile.
        GatewayError
            Those of the store.
        """
        known = row.upload_id
        there = self._objects.parts_there(row.bucket, row.key, known) if known else None
        if known and there is not None:
            return known, there
        if known == BEGUN:
            abort_unknown(self._db, self._objects, row.bucket, row.key)
        elif not self._note(row, BEGUN):
            raise ValueError("the job has ended")
        upload = self._objects.start_upload(row.bucket, row.key, algorithm)
        if not self._note(row, upload):  # nobody would ever abort this
            self._objects.abort_upload(row.bucket, row.key, upload)
            raise ValueError("the job has ended")
        return upload, []

    def _note(self, row: OutputFile, upload: str) -> bool:
        """Write down what there is of an upload; tell whether its container is still going."""
        with self._db.write() as session:
            stored = session.get(OutputFile, row.id)
            container = session.get(Container, (row.job_id, row.container))
            going = container is not None and not Phase.of(container.phase).terminal
            if stored is None or not going:
                return False
            stored.upload_id = upload
            session.add(stored)
        return True

    def drop(self, row: OutputFile) -> None:
        """Abort what is left of an output's upload. One that was completed, or is gone, is left alone.

        Raises
        ------
        S3UnavailableError
            When the store is away.
        """
        try:
            if row.upload_id == BEGUN:
                abort_unknown(self._db, self._objects, row.bucket, row.key)
            elif row.upload_id is not None and self._objects.upload_open(
                row.bucket, row.key, row.upload_id
            ):
                self._objects.abort_upload(row.bucket, row.key, row.upload_id)
        except S3UnavailableError:
            raise
        except GatewayError as exc:  # who may not abort it can do no more, and the job goes on
            log.warning("upload.stays", job=row.job_id, key=row.key, error=exc.message)
