"""The mailbox of a site: nodes ask for grants and tell of phases; one listing a tick for all jobs."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlmodel import select

from gateway.config import Config
from gateway.daemon.grants import Granter, Request
from gateway.daemon.later import Later
from gateway.daemon.loops import one_job
from gateway.daemon.result import Found, keep_results, read_result
from gateway.daemon.site import Site
from gateway.errors import GatewayError, SiteError
from gateway.images.logins import LoginError, Logins
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.outputs import container_dir
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container, Job, Submission

log = structlog.get_logger()
_MOST = 1000
_BATCH = 50  # letters that are answered together: nobody waits for all the others
_IDLE = 1.0
_AGAIN = 5.0  # seconds that a request waits for a store that is away
_QUIET = 1.0  # seconds between two wakings of the poll loop: each costs Slurm a squeue


@dataclass(frozen=True)
class _Letter:
    """A request of a container of ours; `ended` says whether there is anything left to grant.

    `submission_id` and `number` are of the submission that the container is in.
    """

    name: str
    request: Request
    output_dir: str
    ended: bool
    submission_id: int | None
    number: int | None


class Mailbox:
    """The loop that serves one site's mailbox."""

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: ObjectStore,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._db = database
        self._granter = Granter(config.s3, database, objects)
        self._logins = Logins(config.images)
        self._site = site
        self._clock = clock
        self._later = Later(_AGAIN, 1, clock)
        self._news = False  # results that the poll loop was not woken for yet
        self._quiet_until = clock()

    def tick(self) -> float:
        """Answer what is there; returns the seconds to wait."""
        with self._db.read() as session:
            if not store.any_active(session, self._site.name):
                return _IDLE
        self._later.new_round()
        found = self._site.hands.scan(self._site.mailbox, _MOST)
        for start in range(0, len(found), _BATCH):
            self._serve(found[start : start + _BATCH])
        if self._news and self._clock() >= self._quiet_until:
            self._news, self._quiet_until = False, self._clock() + _QUIET
            self._site.poll_wake.set()
        return self._site.section.mailbox_seconds

    def _serve(self, found: Sequence[tuple[str, bytes]]) -> None:
        """Do what some letters say, then remove all but those that must wait."""
        letters = [letter for name, data in found if (letter := self._read(name, data)) is not None]
        self._moved([letter for letter in letters if letter.request.kind == "phase"])
        self._ended([letter for letter in letters if letter.request.kind == "result"])
        kept: set[str] = set()
        answers: list[tuple[str, bytes]] = []
        for letter in letters:
            if letter.request.kind in ("phase", "result"):
                continue
            if not self._later.may(letter.name):
                kept.add(letter.name)
                continue
            try:
                with one_job(letter.request.job_id, "answering a node", self._tell(letter.request)):
                    answers.append(self._answer(letter))
            except S3UnavailableError as exc:
                log.warning("grant.waits", request=letter.name, error=str(exc))
                self._later.failed(letter.name)
                kept.add(letter.name)
        self._write(answers)
        done = [f"{self._site.mailbox}/{name}" for name, _ in found if name not in kept]
        if done:
            self._site.hands.remove(done)

    def _read(self, name: str, data: bytes) -> _Letter | None:
        """Read a letter; None for one that is none, or not of who it says."""
        try:
            request = Request.model_validate_json(data)
            query = select(Job.token, Job.output_dir, Job.declobber, Container.phase).where(
                Job.id == request.job_id,
                Container.job_id == Job.id,
                Container.index == request.container,
            )
            with self._db.read() as session:
                row = session.exec(query).first()
                which = select(Submission.id, Submission.number).where(
                    Submission.id == Container.submission_id,
                    Container.job_id == request.job_id,
                    Container.index == request.container,
                )
                place = session.exec(which).first()
            if row is None or not hmac.compare_digest(row[0].encode(), request.token.encode()):
                raise ValueError("no such container, or a wrong token")
            if request.submission is not None and (place is None or place[1] != request.submission):
                raise ValueError("the container is in another submission by now")
        except ValueError as exc:
            log.warning("mailbox.refused", request=name, error=str(exc).splitlines()[0])
            return None
        target = container_dir(row[1], request.container, declobber=row[2])
        ended = Phase.of(row[3]).terminal
        return _Letter(name, request, target, ended, place and place[0], place and place[1])

    def _tell(self, request: Request) -> Callable[[str], None]:
        def tell(reason: str) -> None:
            with self._db.write() as session:
                store.explain(session, [request.job_id], reason)

        return tell

    def _answer(self, letter: _Letter) -> tuple[str, bytes]:
        """Return the path and the content of the answer to a request for grants."""
        request = letter.request
        error = None
        granted: dict[str, Any] = {"inputs": [], "outputs": []}
        expires = time.time() + self._config.s3.grant_seconds
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
        folder = self._site.container_dir(request.job_id, request.container)
        path = f"{folder}/grants/{request.slurm_job_id}.{request.seq}.json"
        return path, json.dumps(answer).encode()

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

    def _write(self, answers: Sequence[tuple[str, bytes]]) -> None:
        """Write the answers. One that cannot be written is dropped and holds up no other: it is asked for again."""
        try:
            self._site.hands.write_files(answers)
        except SiteError:
            for answer in answers:
                try:
                    self._site.hands.write_files([answer])
                except SiteError as exc:
                    log.warning("grant.unwritten", error=str(exc))

    def _moved(self, letters: Sequence[_Letter]) -> None:
        """Note the phases that containers have come to."""
        if not letters:
            return
        with self._db.write() as session:
            moved: set[int] = set()
            for letter in letters:
                request = letter.request
                row = session.get(Container, (request.job_id, request.container))
                if row is None or Phase.of(row.phase).terminal:
                    continue
                if row.submission_id != letter.submission_id:
                    continue
                row.node = request.host or row.node
                session.add(row)
                if advance_container(session, row, Phase.of(request.phase or "stage-in")):
                    moved.add(request.job_id)
            if moved:
                store.explain(session, moved, None)
            for job_id in moved:
                job = store.get(session, job_id)
                if job is not None:
                    follow_containers(session, job)

    def _ended(self, letters: Sequence[_Letter]) -> None:
        """Keep the results that containers have left."""
        found: dict[tuple[int, int], Found] = {}
        for letter in letters:
            job_id, index = letter.request.job_id, letter.request.container
            result = read_result(self._site, job_id, index, letter.number)
            if result is not None:
                found[job_id, index] = Found(result, letter.submission_id)
        keep_results(self._db, found)
        self._news = self._news or bool(found)
