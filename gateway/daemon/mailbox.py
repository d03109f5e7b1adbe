"""The mailbox of a site: nodes ask for grants and tell of phases; one listing a tick for all jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.config import Config
from gateway.daemon.grants import Request
from gateway.daemon.later import Later
from gateway.daemon.letters import Clerk, Letter
from gateway.daemon.loops import one_job
from gateway.daemon.result import Found, keep_results, read_result
from gateway.daemon.site import Site
from gateway.errors import SiteError
from gateway.jobs.history import advance_container, follow_containers
from gateway.jobs.states import Phase
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.store import jobs as store
from gateway.store.db import Database
from gateway.store.tables import Container

log = structlog.get_logger()
_MOST = 1000
_BATCH = 50  # letters that are answered together: nobody waits for all the others
_HELD = 8 << 20  # bytes of answers that are written together
_IDLE = 1.0
_AGAIN = 5.0  # seconds that a request waits for a store that is away
_QUIET = 1.0  # seconds between two wakings of the poll loop: each costs Slurm a squeue


@dataclass(frozen=True)
class _Answer:
    """What a letter, of that name, is answered, and the path that it goes to."""

    name: str
    letter: Letter
    path: str
    data: bytes


class Mailbox:
    """The loop that serves one site's mailbox."""

    def __init__(
        self,
        config: Config,
        database: Database,
        objects: ObjectStore,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
        on_answer: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._db = database
        self._clerk = Clerk(config, database, objects)
        self._site = site
        self._clock = clock
        self._on_answer = on_answer
        self._looked = clock()
        self._later = Later(_AGAIN, 1, clock)
        self._unwritten = Later(
            _AGAIN, _MOST, clock
        )  # one that cannot be written says nothing of the others
        self._news = False  # results that the poll loop was not woken for yet
        self._quiet_until = clock()

    def tick(self) -> float:
        """Answer what is there; returns the seconds to wait."""
        with self._db.read() as session:
            if not store.any_active(session, self._site.name):
                return _IDLE
        self._later.new_round()
        self._unwritten.new_round()
        self._looked = self._clock()
        found = self._site.hands.scan(self._site.mailbox, _MOST)
        for start in range(0, len(found), _BATCH):
            self._serve(found[start : start + _BATCH])
        if self._news and self._clock() >= self._quiet_until:
            self._news, self._quiet_until = False, self._clock() + _QUIET
            self._site.poll_wake.set()
        return self._site.section.mailbox_seconds

    def _serve(self, found: Sequence[tuple[str, bytes]]) -> None:
        """Do what some letters say, then remove all but those that must wait."""
        read = [pair for name, data in found if (pair := self._read(name, data)) is not None]
        letters = [letter for _, letter in read]
        self._moved([letter for letter in letters if letter.request.kind == "phase"])
        self._ended([letter for letter in letters if letter.request.kind == "result"])
        kept: set[str] = set()
        answers: list[_Answer] = []
        held = 0
        for name, letter in read:
            if letter.request.kind in ("phase", "result"):
                continue
            if not (self._later.may(name) and self._unwritten.may(name)):
                kept.add(name)
                continue
            try:
                with one_job(letter.request.job_id, "answering a node", self._tell(letter.request)):
                    answers.append(_Answer(name, letter, *self._answer(letter)))
                    held += len(answers[-1].data)
            except S3UnavailableError as exc:
                log.warning("grant.waits", request=name, error=str(exc))
                self._later.failed(name)
                kept.add(name)
            if held > _HELD:
                kept |= self._write(answers)
                answers, held = [], 0
        kept |= self._write(answers)
        done = [f"{self._site.mailbox}/{name}" for name, _ in found if name not in kept]
        if done:
            self._site.hands.remove(done)

    def _read(self, name: str, data: bytes) -> tuple[str, Letter] | None:
        """Read a letter; None for one that is none, or not of who it says."""
        try:
            return name, self._clerk.read(data)
        except ValueError as exc:
            log.warning("mailbox.refused", request=name, error=str(exc).splitlines()[0])
            return None

    def _tell(self, request: Request) -> Callable[[str], None]:
        def tell(reason: str) -> None:
            with self._db.write() as session:
                store.explain(session, [request.job_id], reason)

        return tell

    def _answer(self, letter: Letter) -> tuple[str, bytes]:
        """Return the path and the content of the answer to a request for grants."""
        request = letter.request
        folder = self._site.container_dir(request.job_id, request.container)
        path = f"{folder}/grants/{request.slurm_job_id}.{request.seq}.json"
        return path, self._clerk.answer(letter)

    def _write(self, answers: Sequence[_Answer]) -> set[str]:
        """Write the answers; returns the letters whose answers could not be, which wait and hold up no other.

        The disk of the work directory may be full for a while. Who has ended waits for no answer.
        """
        kept: set[str] = set()
        try:
            self._site.hands.write_files([(each.path, each.data) for each in answers])
        except SiteError:
            kept = {each.name for each in answers if not self._written(each)}
        for _ in range(len(answers) - len(kept)):
            self._on_answer(self._clock() - self._looked)
        return kept

    def _written(self, answer: _Answer) -> bool:
        """Write one answer; tell whether there is nothing more to do for it."""
        try:
            self._site.hands.write_files([(answer.path, answer.data)])
        except SiteError as exc:
            log.warning("grant.unwritten", request=answer.name, error=str(exc))
            if answer.letter.ended:
                return True
            self._unwritten.failed(answer.name)
            self._tell(answer.letter.request)(f"answering a node waits: {exc}")
            return False
        return True

    def _moved(self, letters: Sequence[Letter]) -> None:
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

    def _ended(self, letters: Sequence[Letter]) -> None:
        """Keep the results that containers have left."""
        found: dict[tuple[int, int], Found] = {}
        for letter in letters:
            job_id, index = letter.request.job_id, letter.request.container
            result = read_result(self._site, job_id, index, letter.number)
            if result is not None:
                found[job_id, index] = Found(result, letter.submission_id)
        keep_results(self._db, found)
        self._news = self._news or bool(found)
