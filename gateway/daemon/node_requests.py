"""Requests of nodes that came over TLS: the letters of the mailbox by another road, for the sites that have it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from sqlmodel import select

from gateway.config import Config
from gateway.daemon.letters import Clerk, same_token
from gateway.errors import AppCode, GatewayError
from gateway.s3.client import ObjectStore
from gateway.store.db import Database
from gateway.store.tables import Job

log = structlog.get_logger()
_ASKING = ("stage-in", "stage-out", "login")  # the others have no answer, and stay with the mailbox


class NodeRequests:
    """Answers the nodes of jobs. Thread-safe."""

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: ObjectStore,
        on_answer: Callable[[str, float], object] = lambda *_: None,
    ) -> None:
        self._on_answer = on_answer
        self._sites = {name for name, site in config.sites.items() if site.grants_url is not None}
        self._db = database
        self._clerk = Clerk(config, database, objects)

    def check(self, job_id: int, token: str) -> None:
        """See that a token is that job's, and that its site has this road.

        Raises
        ------
        GatewayError
            INVALID_TOKEN, the same for a job that is not there.
        """
        with self._db.read() as session:
            row = session.exec(select(Job.token, Job.site).where(Job.id == job_id)).first()
        # Compared also where there is no job, so that it takes as long.
        right = same_token(row[0] if row is not None else "", token)
        if row is None or not right or row[1] not in self._sites:
            raise GatewayError(AppCode.INVALID_TOKEN, "This token is not that job's.")

    def answer(self, job_id: int, body: bytes) -> bytes:
        """Answer a request for grants of that job, in the form of docs/node-protocol.md.

        Raises
        ------
        GatewayError
            ILLEGAL_PARAMETER for what is no such request, or another job's.
        S3UnavailableError
            When the object store is away.
        """
        begin = time.monotonic()
        try:
            letter = self._clerk.read(body)
            if letter.request.job_id != job_id:
                raise ValueError("it is of another job than its address")
            if letter.request.kind not in _ASKING:
                raise ValueError(f"{letter.request.kind} is told by the mailbox")
        except ValueError as exc:
            said = str(exc).splitlines()[0]
            log.warning("node.refused", job=job_id, error=said)
            raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"This is no request: {said}.") from exc
        answer = self._clerk.answer(letter)
        self._on_answer(letter.site, time.monotonic() - begin)
        return answer
