"""Whose submissions go to Slurm next, and whether there is room for them in its queue."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from gateway.slurm.submit_limits import SubmitLimits
from gateway.store.submissions import Queued
from gateway.store.tables import Job, Submission

Waiting = tuple[Submission, Job]


class Turns:
    """The turns of one round.

    Parameters
    ----------
    limits
        What Slurm allows.
    queued
        How many tasks are in Slurm's queue, by user, account and QOS.
    account, qos
        Those that the site names for jobs that name none.
    served
        When each user last had a turn, as a number that rises; of those with as much in Slurm the longest ago goes first.
    """

    def __init__(
        self,
        limits: SubmitLimits,
        queued: Iterable[Queued],
        account: str | None = None,
        qos: str | None = None,
        served: Mapping[str, int] | None = None,
    ) -> None:
        self._limits = limits
        self._served = served or {}
        self._default = account, qos
        self._users: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._full: dict[str, str] = {}
        for row in queued:
            self._users[row.user] += row.tasks
            for key in self._of(row.account, row.qos):
                self._used[key] += row.tasks

    def _of(self, account: str | None, qos: str | None) -> dict[str, int]:
        return self._limits.of(account or self._default[0], qos or self._default[1])

    def ordered(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Put submissions, oldest first, into a fair order: each user's next goes before those of who has more in Slurm."""
        ahead: dict[str, int] = defaultdict(int, self._users)
        places = []
        for submission, job in waiting:
            served = self._served.get(job.user, 0)
            places.append((ahead[job.user], served, submission.id or 0))
            ahead[job.user] += tasks(submission)
        order = sorted(range(len(waiting)), key=places.__getitem__)
        return [waiting[position] for position in order]

    def no_room(self, submission: Submission, job: Job) -> str | None:
        """Return why a submission has to wait; None where there is room, which it then has taken.

        Once one waits for a limit, so do those behind it: a large one is not passed by small ones for ever.
        """
        count = tasks(submission)
        limits = self._of(job.account, job.qos)
        for whose, most in limits.items():
            if whose in self._full or (self._used[whose] and self._used[whose] + count > most):
                return self._full.setdefault(
                    whose,
                    f"waits in the gateway: Slurm takes at most {most} tasks of {whose} at one time",
                )
        for whose in limits:
            self._used[whose] += count
        return None


def tasks(submission: Submission) -> int:
    """Return how many array tasks a submission has."""
    return -(-len(submission.containers) // submission.per_task)
