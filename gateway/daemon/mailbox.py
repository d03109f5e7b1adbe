"""The mailbox of a site: nodes ask for grants and tell of phases; one listing a tick for all jobs."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

import structlog

from gateway.config import Config
from gateway.daemon.grants import Granter, Request
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.errors import GatewayError
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job

log = structlog.get_logger()
_MOST = 1000
_IDLE = 1.0


class Mailbox:
    """The loop that serves one site's mailbox."""

    def __init__(
        self, config: Config, database: Database, objects: ObjectStore, site: Site
    ) -> None:
        self._config = config
        self._db = database
        self._granter = Granter(config.s3, database, objects)
        self._site = site

    def tick(self) -> float:
        """Answer what is there; returns the seconds to wait."""
        with self._db.read() as session:
            if not store.any_active(session, self._site.name):
                return _IDLE
        answers: list[tuple[str, bytes]] = []
        done: list[str] = []
        for name, data in self._site.hands.scan(self._site.mailbox, _MOST):
            try:
                answer = self._answer(data)
            except S3UnavailableError as exc:
                log.warning("grant.waits", request=name, error=str(exc))
                continue
            except ValueError as exc:
                log.warning("mailbox.refused", request=name, error=str(exc).splitlines()[0])
                answer = None
            if answer is not None:
                answers.append(answer)
            done.append(f"{self._site.mailbox}/{name}")
        if answers:
            self._site.hands.write_files(answers)
        if done:
            self._site.hands.remove(done)
        return self._site.section.mailbox_seconds

    def _answer(self, data: bytes) -> tuple[str, bytes] | None:
        """Do what a letter says; return the path and the content of an answer where it wants one."""
        request = Request.model_validate_json(data)
        with self._db.read() as session:
            job = store.get(session, request.job_id)
            container = session.get(Container, (request.job_id, request.container))
        token = request.token.encode()
        if job is None or container is None or not hmac.compare_digest(job.token.encode(), token):
            raise ValueError("no such container, or a wrong token")
        answer: dict[str, Any] | None = None
        with one_job(request.job_id, "answering a node"):
            answer = self._serve(request, job, container)
        if answer is None:
            return None
        folder = self._site.container_dir(request.job_id, request.container)
        path = f"{folder}/grants/{request.slurm_job_id}.{request.seq}.json"
        return path, json.dumps(answer).encode()

    def _serve(self, request: Request, job: Job, container: Container) -> dict[str, Any] | None:
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
                    granted["inputs"] = self._granter.inputs(request)
                else:
                    granted["outputs"] = self._granter.outputs(request, job)
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
            container.node = request.host or container.node
            session.add(container)
            if advance_container(session, container, phase) and job.cancel_by is None:
                session.flush()
                job.reason = None
                follow_containers(session, job, store.containers(session, request.job_id))

    def _result(self, request: Request) -> None:
        path = f"{self._site.container_dir(request.job_id, request.container)}/result.json"
        data = read_whole(self._site, path)
        if data is None:
            return
        record_result(self._db, request.job_id, request.container, data)
        self._site.poll_wake.set()


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
