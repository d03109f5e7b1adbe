"""Slurm through its library, by pyslurm. What pyslurm cannot do as Slurm's commands do it goes by the commands.

That is a submission with GPUs, ending jobs (pyslurm 25.11 ends no single array task, and takes errno for the result), and what is shown to people.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.errors import SiteError
from gateway.slurm.answers import Answer, meaning_of
from gateway.slurm.child import Child, Program
from gateway.slurm.cli import CliBackend
from gateway.slurm.directives import first_environment, read_directives
from gateway.slurm.hands import Hands
from gateway.slurm.parsing import array_tasks, keeps_accounting
from gateway.slurm.protocol import (
    Limits,
    Partition,
    StepRecord,
    SubmitLaterError,
    SubmitRefusedError,
    TaskRecord,
    TaskState,
)

_START_SECONDS = 30.0
_SUBMIT_SECONDS = 240.0

# Directives and what pyslurm's JobSubmitDescription calls them. A script with others is submitted by sbatch: of GPUs a task,
# pyslurm cannot say which task gets which.
_OPTIONS = {
    "job-name": "name",
    "comment": "comment",
    "chdir": "working_directory",
    "output": "standard_output",
    "error": "standard_error",
    "open-mode": "log_files_open_mode",
    "array": "array",
    "nodes": "nodes",
    "ntasks": "ntasks",
    "ntasks-per-core": "ntasks_per_core",
    "ntasks-per-node": "ntasks_per_node",
    "cpus-per-task": "cpus_per_task",
    "mem": "memory_per_node",
    "time": "time_limit",
    "time-min": "time_limit_min",
    "signal": "signal",
    "partition": "partitions",
    "account": "account",
    "qos": "qos",
    "constraint": "constraints",
    "reservation": "reservations",
    "licenses": "licenses",
    "requeue": "is_requeueable",
}
_NUMBERS = {
    *("ntasks", "ntasks_per_core", "ntasks_per_node", "cpus_per_task"),
    *("time_limit", "time_limit_min"),
}


class PyslurmBackend(CliBackend):
    """`SlurmBackend` by pyslurm, in a process as the user of the jobs.

    Parameters
    ----------
    start
        Starts the program that loads pyslurm, `cts-helper --pyslurm`.
    hands, bin_dir, timeout
        As `CliBackend` has them, for what goes by the commands.
    user
        The user that the jobs run as.
    """

    late = 300.0
    """As `RestBackend.late`: the library goes on with a submission when the gateway has ended, for as long as that."""

    def __init__(
        self,
        start: Callable[[], Program],
        hands: Hands,
        bin_dir: str | None,
        user: str,
        timeout: float,
    ) -> None:
        super().__init__(hands, bin_dir, user, timeout, "pyslurm")
        self._start = start
        self._environment = first_environment(user, bin_dir)
        self._user = user
        self._lock = threading.Lock()
        self._child: Child | None = None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()

    def check(self) -> None:
        """See whether pyslurm is there and of the release of the Slurm that runs.

        Raises
        ------
        SiteError
            When not, with the reason in a line.
        """
        self._call("versions", [])

    def submit(self, script: str) -> str:
        """See `SlurmBackend.submit`."""
        try:
            data = self._hands.read_file(script)
            if data is None:
                raise SiteError(f"there is no {script}")
            options = self._options(script, read_directives(data.decode("ascii")))
            self.check()
        except SiteError as exc:
            raise SubmitLaterError(str(exc)) from exc
        except ValueError as exc:
            raise SubmitRefusedError(str(exc)) from exc
        if options is None:
            return super().submit(script)
        number, said, asked = self._call("submit", [options], max(self._timeout, _SUBMIT_SECONDS))
        if isinstance(number, int) and number > 0:
            return str(number)
        found = meaning_of(said) if asked else Answer.REFUSED
        if found is Answer.REFUSED:
            raise SubmitRefusedError(said)
        if found is Answer.LATER:
            raise SubmitLaterError(f"pyslurm: {said}")
        raise SiteError(f"pyslurm: {said}")

    def _options(
        self, path: str, directives: Sequence[tuple[str, str | None]]
    ) -> dict[str, Any] | None:
        """Return the script's options as pyslurm takes them; None where sbatch alone can say them."""
        if any(name not in _OPTIONS for name, _ in directives):
            return None
        named: dict[str, Any] = {
            _OPTIONS[name]: True if value is None else value for name, value in directives
        }
        for name in _NUMBERS & named.keys():
            named[name] = int(named[name])
        if "signal" in named:
            named["signal"] = _signal(named["signal"])
        return {**named, "script": path, "script_args": [path], "environment": self._environment}

    def queue(self) -> list[TaskState]:
        """See `SlurmBackend.queue`."""
        tasks = []
        for single, array, task, pending, tag, state, reason, node, priority, start in self._rows(
            "queue", [self._user]
        ):
            number, among = array_tasks(single, array, task, pending or "")
            shown = (tag, state, reason, node, priority, _when(start))
            tasks += [TaskState(number, each, *shown) for each in among]
        return tasks

    def accounting(self, since: datetime) -> list[TaskRecord]:
        """See `SlurmBackend.accounting`."""
        records = []
        for single, array, task, pending, *told, steps in self._rows(
            "accounting", [self._user, int(since.astimezone(UTC).timestamp())]
        ):
            number, among = array_tasks(single, array, task, pending or "")
            name, comment, state, code, submit, start, end, elapsed, cpus, node = told
            shown = (
                *(name, comment, state, code, _when(submit), _when(start), _when(end)),
                *(float(elapsed), cpus, node, tuple(_step(step) for step in steps)),
            )
            records += [TaskRecord(number, each, *shown) for each in among]
        return records

    def limits(self) -> Limits:
        """See `SlurmBackend.limits`."""
        size, version, storage = self._call("limits", [])
        return Limits(max(1, size), version, keeps_accounting(storage or ""))

    def partitions(self) -> list[Partition]:
        """See `SlurmBackend.partitions`."""
        return [Partition(*row) for row in self._rows("partitions", [])]

    def _rows(self, operation: str, arguments: list[Any]) -> list[list[Any]]:
        rows = self._call(operation, arguments)
        if not isinstance(rows, list):
            raise SiteError(f"pyslurm: a wrong answer to {operation}")
        return rows

    def _call(self, operation: str, arguments: list[Any], timeout: float | None = None) -> Any:
        with self._lock:
            if self._child is None or not self._child.alive:
                self._child = Child(self._start, _START_SECONDS, who="pyslurm's process")
            child = self._child
        return child.call(operation, arguments, timeout or self._timeout)


def _signal(value: str) -> dict[str, Any]:
    """Read `B:USR1@60`."""
    to, _, rest = value.rpartition(":")
    name, _, seconds = rest.partition("@")
    number = int(name) if name.isdecimal() else signal.Signals[f"SIG{name}"].value
    return {"signal": number, "time": int(seconds), "batch_only": to == "B"}


def _step(row: list[Any]) -> StepRecord:
    name, state, code, start, end, elapsed, cpu_seconds, memory, cpus = row
    return StepRecord(
        name, state, code, _when(start), _when(end), float(elapsed), cpu_seconds, memory, cpus
    )


def _when(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
