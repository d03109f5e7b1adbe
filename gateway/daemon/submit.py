"""Submitting: from a stored job to a Slurm job, exactly once whatever dies when.

A submission is `prepared` (its row is written), then `submitting` (committed before sbatch is called), then
`submitted` (Slurm's id is committed). One found `submitting` without its sbatch being under way is looked up by its tag,
in squeue and in the accounting, and only if neither knows it, is it prepared again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway.config import Config
from gateway.daemon.dependencies import hold
from gateway.daemon.handover import TOGETHER, Handover
from gateway.daemon.jobfiles import claim_path, job_name
from gateway.daemon.later import Later
from gateway.daemon.loops import one_job
from gateway.daemon.packing import prepare
from gateway.daemon.site import Site
from gateway.daemon.turns import Turns
from gateway.errors import SiteError
from gateway.jobs.history import advance_container, advance_job
from gateway.jobs.sites import why_inactive
from gateway.jobs.states import Phase
from gateway.refdata.waiting import why
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from gateway.store import jobs as store
from gateway.store import refdata, skipping, submissions
from gateway.store.db import Database
from gateway.store.tables import Submission

log = structlog.get_logger()
_IDLE = 5.0
_LATER = 15.0  # seconds until what Slurm could not take is tried again
_MOST_LATER = (
    10  # in a round: then the rest waits, too, for a limit that is reached is reached for all
)
_SETTLE = 5.0  # seconds that a lost answer is given before the look-up; doubled each time
_MOST_DOUBLED = 6
# A request may lie in the queue of slurmctld's socket long after sbatch gave up: it must not be known twice, some seconds apart.
_LOOKS, _BETWEEN = 2, 10.0
_UNKNOWN = "Slurm's answer to the submission is not known"
_SLURM_ID = re.compile(r"[0-9]{1,10}", re.ASCII)


class Submitter:
    """The submit loop of one site."""

    def __init__(
        self,
        config: Config,
        database: Database,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._db = database
        self._site = site
        self._clock = clock
        self._round = 0
        self._news = False
        self._served: dict[str, int] = {}  # the last round in which a user had a turn
        self._handover = Handover(config, database, site, self._tell)
        self._later = Later(_LATER, _MOST_LATER, clock)
        self._lookup_after: dict[int, float] = {}
        self._missed: dict[int, int] = {}  # look-ups that found nothing, by submission
        self._lost_at: dict[int, float] = {}  # since when its answer is known to be lost

    def close(self) -> None:
        """Wait for what is under way."""
        self._handover.close()

    def tick(self) -> float:
        """Bring every waiting submission one step on; returns the seconds to wait."""
        try:
            return self._round_of_all()
        finally:  # the other loops have their news at once, and do not get in the way meanwhile
            if self._news:
                self._news = False
                self._site.poll_wake.set()
                self._site.mail_wake.set()

    def _round_of_all(self) -> float:
        self._resolve()
        if self._site_is_off():
            return _IDLE
        with self._db.read() as session:
            new = submissions.waiting_jobs(session, self._site.name)
            held = {each.job_id: each for each in refdata.held(session, self._site.name)}
        self._hold(held.values())
        waits = hold(self._db, self._site.name)
        with self._db.read() as session:
            waits.update(skipping.unchecked(session, self._site.name))
        ready = [number for number in new if number not in held.keys() | waits]
        prepare(self._config, self._db, self._site, ready, self._tell)
        with self._db.read() as session:
            waiting = submissions.submissions_in(session, self._site.name, "prepared")
            queued = submissions.queued(session, self._site.name) if waiting else []
        if waiting:
            self._site.agent(fresh=True)
        self._later.new_round()
        said = ""
        alive = [(submission, job) for submission, job in waiting if job.cancel_by is None]
        if not alive:
            return _IDLE
        section = self._site.section
        turns = Turns(
            self._site.submit_limits(), queued, section.account, section.qos, self._served
        )
        self._round += 1
        alive = turns.ordered(alive)
        full: dict[str, list[int]] = {}
        behind: list[int] = []
        for start in range(0, len(alive), TOGETHER):
            part = alive[start : start + TOGETHER]
            if self._later.over:
                behind += [submission.job_id for submission, job in part if job.reason != said]
            else:
                some = []
                for submission, job in part:
                    if not self._later.may(submission.id):
                        continue
                    no_room = turns.no_room(submission, job)
                    if no_room is None:
                        some.append(submission)
                        self._served[job.user] = self._round
                    elif job.reason != no_room:
                        full.setdefault(no_room, []).append(submission.job_id)
                said = self._submit(some) or said
        for reason, jobs in full.items():
            self._explain(jobs, reason)
        if behind:
            self._explain(behind, said)
        return _IDLE

    def _site_is_off(self) -> bool:
        """Tell whether the site takes no jobs now; those that Slurm has not got then wait, and say why."""
        with self._db.read() as session:
            why_not = why_inactive(session, self._site.name, self._site.section)
            reason = f"the site {self._site.name} takes no jobs now: {why_not}"
            held = [] if why_not is None else store.held_back(session, self._site.name, reason)
        if held:
            self._explain(held, reason)
        return why_not is not None

    def _hold(self, held: Iterable[refdata.Held]) -> None:
        """Say of jobs whose reference data is not there why they wait."""
        for each in held:
            reason = why(each, self._site.name)
            if each.reason != reason:
                self._explain([each.job_id], reason)

    def _submit(self, some: Sequence[Submission]) -> str | None:
        """Try some submissions; return what Slurm says when it cannot take one now."""
        if not some:
            return None
        answers = self._handover.hand_over(some, self._later.left)
        for submission, answer in answers:
            if isinstance(answer, SubmitRefusedError):
                self._refused(submission, str(answer))
        self._submitted([(each, answer) for each, answer in answers if isinstance(answer, str)])
        said: str | None = None
        trouble: SiteError | None = None
        for submission, answer in answers:
            if isinstance(answer, SubmitLaterError):
                self._later.failed(submission.id)
                said = str(answer)
                self._back_to_prepared(submission, said)
            elif isinstance(answer, SiteError):
                self._not_answered(submission, answer)
                trouble = trouble or answer
            elif isinstance(answer, Exception) and not isinstance(answer, SubmitRefusedError):
                self._not_answered(submission, answer)
                with one_job(submission.job_id, "submitting it", self._tell(submission.job_id)):
                    raise answer
        for submission, answer in answers:
            if answer is None:
                self._back_to_prepared(submission, said or "")
        if trouble is not None:
            raise trouble
        return said

    def _not_answered(self, submission: Submission, trouble: Exception) -> None:
        doubled = min(submission.attempts, _MOST_DOUBLED)
        self._lost_at[submission.id or 0] = self._clock()
        self._lookup_after[submission.id or 0] = self._clock() + _SETTLE * 2**doubled
        self._explain([submission.job_id], f"{_UNKNOWN}: {trouble}")

    def _submitted(self, taken: Sequence[tuple[Submission, str]]) -> None:
        """Write down what Slurm has taken: each submission with Slurm's job id."""
        if not taken:
            return
        ids = {submission.id or 0: number for submission, number in taken}
        with self._db.write() as session:
            for row in submissions.these(session, ids):
                row.state, row.slurm_job_id = "submitted", ids[row.id or 0]
                row.submitted = store.now()
                session.add(row)
            for container in submissions.members(session, [each for each, _ in taken]):
                container.slurm_job_id = ids[container.submission_id or 0]
                advance_container(session, container, Phase.PENDING)
            session.flush()
            jobs = store.some(session, {submission.job_id for submission, _ in taken})
            unfinished = submissions.unfinished(session, jobs)
            for submission, slurm_job_id in taken:
                job = jobs.get(submission.job_id)
                if job is None:
                    continue
                if job.id not in unfinished:
                    advance_job(session, job, Phase.PENDING, f"Slurm job {slurm_job_id}")
                job.reason = None
                session.add(job)
        for submission, slurm_job_id in taken:
            log.info("job.submitted", job=submission.job_id, slurm_job=slurm_job_id)
            self._forget(submission)
        self._news = True

    def _back_to_prepared(self, submission: Submission, reason: str) -> None:
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            if row is not None and row.state == "submitting":
                row.state = "prepared"
                session.add(row)
                store.explain(session, [submission.job_id], reason)
        self._forget(submission)

    def _forget(self, submission: Submission) -> None:
        number = submission.id or 0
        self._lookup_after.pop(number, None)
        self._missed.pop(number, None)
        self._lost_at.pop(number, None)

    def _tell(self, job_id: int) -> Callable[[str], None]:
        return lambda reason: self._explain([job_id], reason)

    def _explain(self, job_ids: list[int], reason: str) -> None:
        with self._db.write() as session:
            store.explain(session, job_ids, reason)

    def _refused(self, submission: Submission, said: str) -> None:
        log.warning("job.refused", job=submission.job_id, error=said)
        message = f"Slurm refused the job: {said}"
        with self._db.write() as session:
            row = session.get(Submission, submission.id)
            if row is None:
                return
            row.state = "refused"
            session.add(row)
            for container in submissions.members(session, [submission]):
                if advance_container(session, container, Phase.ERROR, message):
                    container.error = message
        self._news = True

    def _resolve(self) -> None:
        """Look up submissions whose outcome is not known; those that nobody knows are prepared again."""
        with self._db.read() as session:
            unknown = submissions.submissions_in(session, self._site.name, "submitting")
        now = self._clock()
        due = [s for s, _ in unknown if self._lookup_after.get(s.id or 0, now) <= now]
        if not due:
            return
        tasks = {task.tag: task.slurm_job_id for task in self._site.backend.queue()}
        due = [s for s in due if not self._adopted(s, tasks.get(s.tag))]
        due = [s for s in due if not self._adopted(s, self._claimed(s))]
        if not due:
            return
        try:
            kept = self._site.limits().accounting
            records = self._site.backend.accounting(min(s.created for s in due)) if kept else []
        except SiteError as exc:
            # It may have run and left squeue: without the accounting nothing proves that it did not.
            for submission in due:
                self._lookup_after[submission.id or 0] = self._clock() + _SETTLE
            why = f"{_UNKNOWN}: it is not in squeue, and the accounting does not answer: {exc}"
            self._explain([s.job_id for s in due], why)
            return
        known = {record.name: record.slurm_job_id for record in records}
        known |= {record.comment: record.slurm_job_id for record in records if record.comment}
        for submission in due:
            found = known.get(submission.tag) or known.get(job_name(submission))
            if not self._adopted(submission, found):
                self._not_known(submission)

    def _not_known(self, submission: Submission) -> None:
        """Take it for never submitted, or look once more: while it may still come to Slurm, that proves nothing."""
        number = submission.id or 0
        self._missed[number] = self._missed.get(number, 0) + 1
        waited = self._clock() - self._lost_at.setdefault(number, self._clock())
        if self._missed[number] < _LOOKS or waited < self._site.backend.late:
            self._lookup_after[number] = self._clock() + _BETWEEN
            self._explain([submission.job_id], f"{_UNKNOWN}; it is looked up once more")
            return
        log.info("job.not_submitted", job=submission.job_id)
        self._back_to_prepared(submission, "Slurm does not know the job; it is submitted again")

    def _adopted(self, submission: Submission, found: str | None) -> bool:
        if found is None:
            return False
        log.info("job.adopted", job=submission.job_id, slurm_job=found)
        self._submitted([(submission, found)])
        return True

    def _claimed(self, submission: Submission) -> str | None:
        """Return the Slurm job that runs it already, as its first task has written."""
        data = self._site.hands.read_file(claim_path(self._site, submission)) or b""
        text = data.decode("ascii", "replace").strip()
        return text if _SLURM_ID.fullmatch(text) else None
