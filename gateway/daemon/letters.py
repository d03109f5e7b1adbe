"""What nodes ask for and what they are answered, whichever road it comes by: the mailbox, or TLS."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select as sa_select
from sqlmodel import col, select

from gateway.config import Config
from gateway.daemon.grants import Granter, Request
from gateway.errors import GatewayError
from gateway.images.logins import LoginError, Logins
from gateway.jobs.outputs import container_dir
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store.db import Database
from gateway.store.tables import Container, Job, Submission

log = structlog.get_logger()


@dataclass(frozen=True)
class Letter:
    """A request of a container of ours; `ended` says whether there is anything left to grant.

    `submission_id` and `number` are of the submission that the container is in.
    """

    request: Request
    site: str
    output_dir: str
    ended: bool
    submission_id: int | None
    number: int | None


class Clerk:
    """Reads letters and answers those that ask for grants. Thread-safe."""

    def __init__(self, config: Config, database: Database, objects: ObjectStore) -> None:
        self._grant_seconds = config.s3.grant_seconds
        self._db = database
        self._granter = Granter(config.s3, database, objects)
        self._logins = Logins(config.images)

    def read(self, data: bytes) -> Letter:
        """Read a letter.

        Raises
        ------
        ValueError
            When it is none, or not of who it says.
        """
        request = Request.model_validate_json(data)
        columns = col(Job.token), col(Job.site), col(Job.output_dir), col(Job.declobber)
        query = sa_select(*columns, col(Container.phase)).where(
            col(Job.id) == request.job_id,
            col(Container.job_id) == col(Job.id),
            col(Container.index) == request.container,
        )
        with self._db.read() as session:
            row = session.execute(query).first()
            which = select(Submission.id, Submission.number).where(
                Submission.id == Container.submission_id,
                Container.job_id == request.job_id,
                Container.index == request.container,
            )
            place = session.exec(which).first()
        if row is None or not same_token(row.token, request.token):
            raise ValueError("no such container, or a wrong token")
        if request.submission is not None and (place is None or place[1] != request.submission):
            raise ValueError("the container is in another submission by now")
        _, site, output_dir, declobber, phase = row
        target = container_dir(output_dir, request.container, declobber=declobber)
        ended = Phase.of(phase).terminal
        return Letter(request, site, target, ended, place and place[0], place and place[1])

    def answer(self, letter: Letter) -> bytes:
        """Return the answer to a request for grants, as docs/node-protocol.md has it.

        Raises
        ------
        S3UnavailableError
            When the object store is away: the same may be asked again.
        """
        request = letter.request
        error = None
        granted: dict[str, Any] = {"inputs": [], "outputs": []}
        expires = time.time() + self._grant_seconds
        try:
            if letter.ended:
                error = "the job has ended"
            elif request.kind == "login":
                granted["login"] = self._login(request)
            elif request.kind == "stage-in":
                granted["inputs"] = self._granter.inputs(request)
            else:
                granted["outputs"] = self._granter.outputs(request, letter.output_dir)
        except S3UnavailableError:
            raise
        except GatewayError as exc:
            error = exc.message
        except ValueError as exc:
            error = str(exc)
        answer = {"version": 1, "seq": request.seq, "expires": expires, "error": error, **granted}
        return json.dumps(answer).encode()

    def _login(self, request: Request) -> dict[str, str] | None:
        """Return the login to the registry of the job's image, as the database has that, and of no other."""
        with self._db.read() as session:
            image = session.exec(select(Job.image).where(Job.id == request.job_id)).one()
        try:
            login = self._logins.get(str(image["name"]))
        except LoginError as exc:
            raise ValueError(str(exc)) from exc
        if login is None:
            return None
        log.info("grant.login", job=request.job_id, image=image["name"])
        return {"username": login.username, "password": login.password}


def same_token(known: str, given: str) -> bool:
    """Compare a job's token with one that was sent; how long it takes tells nothing of either."""
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))
