"""Slurm through its commands (sbatch, squeue, sacct, scancel, scontrol, sinfo) by a site's hands."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.errors import SiteError
from gateway.slurm import parsing
from gateway.slurm.answers import Answer, read_answer, read_outlook
from gateway.slurm.hands import CommandResult, Hands
from gateway.slurm.protocol import (
    MOST_SHOWN,
    Limits,
    Partition,
    Shown,
    SubmitLaterError,
    SubmitRefusedError,
    TaskRecord,
    TaskState,
)

# sbatch itself tries again for 2 minutes while slurmctld's queue is full: cut short, it could not say how that ended.
_SUBMIT_SECONDS = 180.0
_GONE = re.compile(
    r"Invalid job id|already completing or completed|job has already finished", re.IGNORECASE
)
_PREFIX = re.compile(r"^(?:\w+: error: |slurm_load_\w+ error: )")
_ID_BATCH = 200
_STATES = ("BF", "CA", "CD", "DL", "F", "NF", "OOM", "PD", "PR", "R", "RQ", "RS", "RV", "S", "TO")


class CliBackend:
    """`SlurmBackend` by the commands of Slurm.

    Parameters
    ----------
    hands
        Runs the commands; the same class serves a local user, a helper and (later) SSH.
    bin_dir
        Where the commands are, when not on PATH.
    user
        The user that the jobs run as: only that user's jobs are asked for.
    timeout
        Seconds that a command may take.
    name
        What the road is called: `ssh` where the hands are on another machine.
    """

    late = 0.0

    def __init__(
        self,
        hands: Hands,
        bin_dir: str | None,
        user: str | None,
        timeout: float,
        name: str = "cli",
    ) -> None:
        self.name = name
        self._hands = hands
        self._prefix = f"{bin_dir}/" if bin_dir else ""
        self._who = [f"--user={user}"] if user else ["--me"]
        self._sacct_who = [f"--user={user}"] if user else []
        self._timeout = timeout

    def _run(self, command: str, *arguments: str) -> CommandResult:
        return self._hands.run([self._prefix + command, *arguments], self._timeout)

    def _ask(self, command: str, *arguments: str) -> str:
        done = self._run(command, *arguments)
        if done.returncode != 0:
            raise SiteError(f"{command}: {_last(done.stderr) or f'exit code {done.returncode}'}")
        return done.stdout

    def submit(self, script: str) -> str:
        """See `SlurmBackend.submit`."""
        argv = [f"{self._prefix}sbatch", "--parsable", script]
        done = self._hands.run(argv, max(self._timeout, _SUBMIT_SECONDS), guarded=True)
        found = read_answer(done)
        if found.answer is Answer.QUEUED:
            return found.text
        if found.answer is Answer.REFUSED:
            raise SubmitRefusedError(found.text)
        if found.answer is Answer.LATER:
            raise SubmitLaterError(f"sbatch: {found.text}")
        raise SiteError(f"sbatch: {found.text}")

    def queue(self) -> list[TaskState]:
        """See `SlurmBackend.queue`."""
        text = self._ask(
            "squeue",
            "--noheader",
            "--array",
            "--states=all",
            *self._who,
            f"--format={parsing.SQUEUE_FORMAT}",
        )
        return parsing.parse_squeue(text)

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """See `SlurmBackend.accounting`."""
        text = self._ask(
            "sacct",
            "--noheader",
            "--parsable2",
            *self._sacct_who,
            f"--starttime={since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
            # Without states sacct leaves out what was canceled before Slurm had ever found it eligible.
            "--endtime=now",
            f"--state={','.join(_STATES)}",
            f"--format={','.join(parsing.SACCT_FIELDS)}",
        )
        return parsing.parse_sacct(text)

    def cancel(self, slurm_job_ids: Sequence[str]) -> None:
        """See `SlurmBackend.cancel`."""
        for start in range(0, len(slurm_job_ids), _ID_BATCH):
            done = self._run("scancel", *slurm_job_ids[start : start + _ID_BATCH])
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            bad = [line for line in lines if not _GONE.search(line)]
            if done.returncode < 0 or (done.returncode > 0 and (bad or not lines)):
                said = bad[-1].removeprefix("scancel: error: ") if bad else ""
                raise SiteError(f"scancel: {said or f'exit code {done.returncode}'}")

    def limits(self) -> Limits:
        """See `SlurmBackend.limits`."""
        return parsing.parse_config(self._ask("scontrol", "show", "config"))

    def partitions(self) -> list[Partition]:
        """See `SlurmBackend.partitions`."""
        text = self._ask("sinfo", "--noheader", f"--format={parsing.SINFO_FORMAT}")
        return parsing.parse_sinfo(text)

    def expected_start(self, script: str, timeout: float) -> datetime | None:
        """See `SlurmBackend.expected_start`."""
        argv = [f"{self._prefix}sbatch", "--test-only", script]
        found = read_outlook(self._hands.run(argv, min(timeout, self._timeout), guarded=True))
        if found.answer is Answer.REFUSED:
            raise SubmitRefusedError(found.text)
        if found.answer is Answer.LATER:
            raise SubmitLaterError(f"sbatch: {found.text}")
        if found.answer is Answer.UNKNOWN:
            raise SiteError(f"sbatch: {found.text}")
        # Of a partition that is DOWN Slurm says the same as of one that is up; jobs are queued there, and wait.
        down = {each.name for each in self.partitions() if each.state == "DOWN"}
        if found.partition in down:
            raise SubmitLaterError(f"the partition {found.partition} is DOWN")
        return found.start

    def show(self, slurm_job_ids: Sequence[str], timeout: float) -> Shown:
        """See `SlurmBackend.show`."""
        ids = ",".join(slurm_job_ids)
        queue, queue_error = self._document(
            timeout, "squeue", "--json", "--states=all", f"--jobs={ids}"
        )
        records, records_error = self._document(timeout, "sacct", "--json", f"--jobs={ids}")
        return Shown(queue, queue_error, records, records_error)

    def _document(self, timeout: float, command: str, *arguments: str) -> tuple[object, str | None]:
        """Return the JSON that a command prints, or why there is none."""
        argv = [self._prefix + command, *arguments]
        try:
            done = self._hands.run(argv, min(timeout, self._timeout))
        except SiteError as exc:
            return None, str(exc)
        if done.returncode != 0:
            return None, f"{command}: {_last(done.stderr) or f'exit code {done.returncode}'}"
        if len(done.stdout) > MOST_SHOWN:
            return (
                None,
                f"{command}: its answer is over {MOST_SHOWN >> 20} MiB; ask for one container",
            )
        try:
            return json.loads(done.stdout), None
        except (ValueError, RecursionError):
            return None, f"{command}: its answer is no JSON; this Slurm may be too old for --json"

    def close(self) -> None:
        """See `SlurmBackend.close`: a command leaves nothing."""


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PREFIX.sub("", lines[-1]) if lines else ""
