"""A Slurm, a clock and an object store that do as they are told, for tests of the daemon's loops."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.config import S3Section
from gateway.errors import SiteError
from gateway.s3.client import Algorithm, ObjectInfo, ObjectStore
from gateway.slurm.protocol import (
    Limits,
    Partition,
    Shown,
    StepRecord,
    TaskRecord,
    TaskState,
)

MOMENT = datetime(2026, 11, 24, 6, tzinfo=UTC)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(frozen=True)
class Submitted:
    """What sbatch was given: its script, and the directives that matter here."""

    script: str
    name: str
    comment: str
    tasks: int


class FakeSlurm:
    """`SlurmBackend` in memory: reads the scripts it is given, and knows tasks, records and troubles."""

    name = "cli"

    def __init__(self, max_array_size: int = 1001) -> None:
        self.max_array_size = max_array_size
        self.late = 0.0
        self.jobs: dict[str, Submitted] = {}
        self.tasks: dict[tuple[str, int | None], TaskState] = {}
        self.records: dict[tuple[str, int | None], TaskRecord] = {}
        self.calls: Counter[str] = Counter()
        self.keeps_accounting = True
        self.away: set[str] = set()  # commands that do not answer
        self.answers: list[Exception] = []  # what sbatch says to the next submissions, taking none
        self.loses_answer = False  # sbatch takes the job, and its answer does not come
        self.canceled: list[str] = []
        self._lock = threading.Lock()
        self.start: datetime | None = None  # when it would start whatever it is shown
        self.shown: list[str] = []

    def submit(self, script: str) -> str:
        """See `SlurmBackend.submit`."""
        with self._lock:
            return self._submit(script)

    def _submit(self, script: str) -> str:
        self._called("submit")
        if self.answers:
            raise self.answers.pop(0)
        text = Path(script).read_text(encoding="ascii")
        number = str(100 + len(self.jobs))
        last = int(_directive(text, r"array=0-(\d+)"))
        job = Submitted(
            text, _directive(text, r"job-name=(\S+)"), _directive(text, r"comment=(\S+)"), last + 1
        )
        self.jobs[number] = job
        for task in range(job.tasks):
            self.tasks[number, task] = TaskState(
                number, task, job.comment, "PENDING", "Priority", ""
            )
        if self.loses_answer:
            raise SiteError("sbatch gave no answer in 180 s")
        return number

    def queue(self) -> list[TaskState]:
        """See `SlurmBackend.queue`."""
        self._called("queue")
        return list(self.tasks.values())

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """See `SlurmBackend.accounting`."""
        self._called("accounting")
        if not self.keeps_accounting:
            raise SiteError("sacct: Slurm accounting storage is disabled")
        return list(self.records.values())

    def cancel(self, slurm_job_ids: Sequence[str]) -> None:
        """See `SlurmBackend.cancel`."""
        self._called("cancel")
        self.canceled += slurm_job_ids

    def limits(self) -> Limits:
        """See `SlurmBackend.limits`."""
        self._called("limits")
        return Limits(self.max_array_size, "24.11.1", self.keeps_accounting)

    def partitions(self) -> list[Partition]:
        """See `SlurmBackend.partitions`."""
        self._called("partitions")
        return [Partition("regular", "UP", 2880, 4, True, 1, 2, 1)]

    def expected_start(self, script: str, timeout: float) -> datetime | None:
        """See `SlurmBackend.expected_start`."""
        self._called("expected_start")
        self.shown.append(Path(script).read_text(encoding="ascii"))
        return self.start

    def show(self, slurm_job_ids: Sequence[str], timeout: float) -> Shown:
        """See `SlurmBackend.show`."""
        return Shown(controller={"jobs": list(slurm_job_ids)}, accounting_error="sacct: away")

    def close(self) -> None:
        """See `SlurmBackend.close`."""

    def set(
        self, number: str, task: int, state: str, *, reason: str = "None", node: str = ""
    ) -> None:
        """Let squeue show a task so."""
        tag = self.jobs[number].comment if number in self.jobs else ""
        self.tasks[number, task] = TaskState(number, task, tag, state, reason, node)

    def forget(self, number: str) -> None:
        """Let squeue show nothing of a job any more."""
        self.tasks = {key: task for key, task in self.tasks.items() if key[0] != number}

    def record(
        self,
        number: str,
        task: int,
        state: str,
        *,
        ended: bool = True,
        steps: Sequence[tuple[str, str]] = (("batch", "COMPLETED"), ("run", "COMPLETED")),
        node: str = "n1",
    ) -> None:
        """Let sacct show a task so; `steps` are names and states."""
        job = self.jobs[number]
        record = TaskRecord(
            number, task, job.name, job.comment, state, "0:0", MOMENT, MOMENT, MOMENT, 10.0, 2, node,
            tuple(step(name, word) for name, word in steps),
        )  # fmt: skip
        self.records[number, task] = record if ended else replace(record, end=None)

    def _called(self, command: str) -> None:
        self.calls[command] += 1
        if command in self.away:
            raise SiteError(f"{command}: Unable to contact slurm controller")


def step(name: str, state: str, *, cpu: float = 4.0, rss: int = 1 << 20) -> StepRecord:
    """A job step in the accounting."""
    return StepRecord(name, state, "0:0", MOMENT, MOMENT, 5.0, cpu, rss if name == "run" else None)


def _directive(script: str, pattern: str) -> str:
    match = re.search(rf"^#SBATCH --{pattern}$", script, re.MULTILINE)
    assert match is not None, pattern
    return match[1]


class Store(ObjectStore):
    """The real thing at moto, which can be cut off from here."""

    def __init__(self, config: S3Section) -> None:
        super().__init__(config)
        self.config = config
        self.heal()

    def heal(self) -> None:
        """Let all be well."""
        self.away = False
        self.broken: set[str] = set()  # keys for which the store answers 500
        self.looked: list[str] = []  # keys that were looked at

    def inspect(self, bucket: str, key: str) -> ObjectInfo:
        self.looked.append(key)
        self._there(key)
        return super().inspect(bucket, key)

    def start_upload(self, bucket: str, key: str, algorithm: Algorithm | None) -> str:
        self._there(key)
        return super().start_upload(bucket, key, algorithm)

    def upload_open(self, bucket: str, key: str, upload: str) -> bool:
        self._there(key)
        return super().upload_open(bucket, key, upload)

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        self._there(key)
        super().abort_upload(bucket, key, upload)

    def check_writable(self, bucket: str, prefix: str) -> None:
        self._there(prefix)
        super().check_writable(bucket, prefix)

    def _there(self, key: str) -> None:
        if self.away:
            raise self.store("").teller.unavailable("cannot be reached (no connection)")
        if key in self.broken:
            raise self.store("").teller.unavailable(f"answered 500 for {key!r}")
