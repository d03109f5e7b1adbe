"""Requests that may come twice: the same key with the same body is the same job, for a day.

A key is a user's own. It is stored in the transaction that stores the job, so that of requests that come at one time one
makes the job, and a request that was refused leaves no key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, col, delete

from gateway.errors import AppCode, GatewayError
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import IdempotencyKey, Job

KEPT = timedelta(days=1)
_PERIOD = 600.0  # seconds between two looks for old keys
_MOST = 255


def check_key(text: str) -> str:
    """Take 1 to 255 printable ASCII characters.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER.
    """
    if not 1 <= len(text) <= _MOST or not (text.isascii() and text.isprintable()):
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"Idempotency-Key: a key is 1 to {_MOST} printable ASCII characters; send a random one, such as a UUID.",
        )
    return text


def digest_of(body: object) -> str:
    """Return what two requests have in common that ask for the same: white space and the order of names do not count."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Once:
    """A request that is to make one job, however often it comes: whose, its key, and the digest of its body."""

    user: str
    key: str
    digest: str

    def before(self, session: Session) -> Job | None:
        """Return the job that it made; None where its key is new, or older than a day.

        Raises
        ------
        GatewayError
            ILLEGAL_PARAMETER where the key came with another body.
        """
        row = session.get(IdempotencyKey, (self.user, self.key))
        if row is None or row.created <= now() - KEPT:
            return None
        if row.digest != self.digest:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"Idempotency-Key: this key came with another body within a day, and made job {row.job_id}; use a new key "
                "for another job.",
            )
        return session.get(Job, row.job_id)

    def keep(self, session: Session, job_id: int) -> None:
        """Note which job it made."""
        session.merge(
            IdempotencyKey(
                user=self.user, key=self.key, digest=self.digest, job_id=job_id, created=now()
            )
        )


class KeyCleaner:
    """The loop that removes keys which are older than a day."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def tick(self) -> float:
        """Remove them; returns the seconds to wait."""
        with self._db.write() as session:
            session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.created) <= now() - KEPT))
        return _PERIOD
