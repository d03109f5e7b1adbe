"""Handing submissions over to Slurm, some at a time: their files are written, they are marked, sbatch is called for each.

What costs a call or a transaction for one costs one for all of them, and sbatch spends most of its time waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.config import Config
from gateway.daemon.jobfiles import container_files, make_files, script_path
from gateway.daemon.loops import one_job
from gateway.daemon.site import Site
from gateway.slurm.protocol import SubmitLaterError
from gateway.store import jobs as store
from gateway.store import refdata, submissions
from gateway.store.db import Database
from gateway.store.tables import Submission

Answer = str | Exception | None
TOGETHER = 32  # submissions that are handed over together
_SIDE_BY_SIDE = 4  # calls of sbatch; slurmctld takes them one after the other
_FILES = 200  # containers whose files are made and written together


class Handover:
    """Hands submissions of one site over; `tell(job, why)` is called when one cannot be for a reason of its own."""

    def __init__(
        self,
        config: Config,
        database: Database,
        site: Site,
        tell: Callable[[int], Callable[[str], object]],
    ) -> None:
        self._config = config
        self._db = database
        self._site = site
        self._tell = tell
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="sbatch")

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()

    def hand_over(
        self, some: Sequence[Submission], most_later: int
    ) -> list[tuple[Submission, Answer]]:
        """Hand over; return those that were marked, each with Slurm's job id, or with what went wrong.

        Once Slurm has put off `most_later` of them it is not asked for the others: these come with None.

        Raises
        ------
        SiteError
            When the site's files cannot be written: Slurm was asked nothing.
        """
        with self._site.files_lock:
            scripts = self._write(some)
        marked = self._mark([each for each in some if each.id in scripts], scripts)
        put_off: list[Submission] = []

        def ask(submission: Submission) -> Answer:
            if len(put_off) >= most_later:
                return None
            try:
                return self._site.backend.submit(script_path(self._site, submission))
            except SubmitLaterError as exc:
                put_off.append(submission)
                return exc
            except Exception as exc:  # noqa: BLE001 - the caller judges each
                return exc

        return list(zip(marked, self._pool.map(ask, marked), strict=True))

    def _write(self, some: Sequence[Submission]) -> dict[int | None, str]:
        """Write what the nodes need of jobs and their scripts; return the scripts, by submission."""
        files: list[tuple[str, bytes]] = []
        scripts: dict[int | None, str] = {}
        ids = {each.job_id for each in some}
        with self._db.read() as session:
            jobs = {number: store.get(session, number) for number in ids}
            data = refdata.of_jobs(session, ids)
        for each in some:
            with one_job(each.job_id, "making its files", self._tell(each.job_id)):
                job = jobs[each.job_id]
                if job is None:
                    raise ValueError(f"there is no job {each.job_id}")
                script, own = make_files(self._config, self._site, each, job, data.get(each.job_id))
                scripts[each.id] = script
                files += own
        for part in _parts([each for each in some if each.id in scripts]):
            self._site.hands.write_files([*files, *self._of_containers(part, scripts)])
            files = []
        return scripts

    def _of_containers(
        self, part: Sequence[tuple[Submission, Sequence[int]]], scripts: dict[int | None, str]
    ) -> list[tuple[str, bytes]]:
        keys = {(each.job_id, index) for each, indexes in part for index in indexes}
        with self._db.read() as session:
            given = submissions.given(session, keys)
        files: list[tuple[str, bytes]] = []
        for each, indexes in part:
            done = False
            with one_job(each.job_id, "making its files", self._tell(each.job_id)):
                rows = [given[each.job_id, index] for index in indexes]
                files += container_files(self._site, each, rows)
                done = True
            if not done:
                scripts.pop(each.id, None)
        return files

    def _mark(
        self, some: Sequence[Submission], scripts: Mapping[int | None, str]
    ) -> list[Submission]:
        """Write down that they are being submitted; return those of jobs that nobody has canceled meanwhile."""
        if not some:
            return []
        marked = set()
        with self._db.write() as session:
            wanted = store.some(session, {each.job_id for each in some})
            for row in submissions.these(session, [each.id or 0 for each in some]):
                job = wanted.get(row.job_id)
                if job is None or row.state != "prepared" or job.cancel_by is not None:
                    continue
                row.state, row.script = "submitting", scripts[row.id]
                row.attempts += 1
                session.add(row)
                marked.add(row.id)
        return [each for each in some if each.id in marked]


def _parts(some: Sequence[Submission]) -> Iterator[list[tuple[Submission, Sequence[int]]]]:
    """Yield submissions with some of their containers each, so many at a time as are held in memory together."""
    part: list[tuple[Submission, Sequence[int]]] = []
    room = _FILES
    for each in some:
        left = each.containers
        while left:
            part.append((each, left[:room]))
            left, room = left[room:], room - len(left[:room])
            if not room:
                yield part
                part, room = [], _FILES
    if part:
        yield part
