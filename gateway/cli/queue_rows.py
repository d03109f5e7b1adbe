"""A row of ctsqueue: a job, or one of its containers, with all that squeue could be asked of it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from gateway.array import parse_array
from gateway.cli import states
from gateway.cli.waits import why
from gateway.client import Client
from gateway.wire import Container, JobPreview


@dataclass(frozen=True)
class Row:
    """What is shown of a job or container; the nodes of a job are asked for only where they are shown."""

    client: Client
    job: JobPreview
    container: Container | None = None

    @property
    def id(self) -> str:
        """1234, or 1234_0."""
        return self.job.id if self.container is None else self.container.id

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands by its id."""
        return int(self.job.id), -1 if self.container is None else self.container.index

    @property
    def phase(self) -> str:
        """The phase of the container, else of the job."""
        return self.job.phase if self.container is None else self.container.phase

    @property
    def name(self) -> str:
        """The job's name, or that of its image."""
        return self.job.name or self.job.image.name.rpartition("/")[2]

    def asked(self, field: str) -> Any:
        """Return what the job has in a field of its document."""
        return self.job.job_input.get(field)

    @property
    def containers(self) -> int:
        """How many there are in the row."""
        return 1 if self.container is not None else int(self.asked("num_containers") or 1)

    @property
    def node_count(self) -> int:
        """Nodes of all its containers together."""
        return self.containers * int(self.asked("nodes") or 1)

    @property
    def cpus(self) -> int:
        """CPUs of all its containers together."""
        return self.node_count * int(self.asked("cpus") or 1)

    @property
    def array_task(self) -> int | None:
        """The number of the array's task that the container is; its own where there is no array."""
        if self.container is None:
            return None
        array = self.asked("array")
        return parse_array(array).numbers[self.container.index] if array else self.container.index

    @cached_property
    def nodes(self) -> list[str]:
        """Where it is, as soon as Slurm has told."""
        if self.phase not in states.RUNNING:
            return []
        if self.container is not None:
            found: Sequence[Container] = [self.container]
        else:
            found = [c for c in self.client.containers(self.job.id) if c.phase in states.RUNNING]
        return sorted({each.node for each in found if each.node})

    @property
    def reason(self) -> str:
        """Why it waits, its place in the queue, and when it is expected to start."""
        if self.container is not None and self.container.reason:
            return self.container.reason
        return why(self.job)

    @property
    def nodes_or_reason(self) -> str:
        """As squeue's NODELIST(REASON)."""
        return ",".join(self.nodes) or (f"({self.reason})" if self.reason else "")

    @cached_property
    def _times(self) -> list[datetime]:
        if self.container is None:
            return []
        given = [time for pair in self.container.times.values() for time in pair if time]
        return [datetime.fromisoformat(time) for time in given]

    @property
    def submitted(self) -> datetime | None:
        """When it was submitted to the gateway."""
        return min((step.time for step in self.job.transition_times), default=None)

    @property
    def started(self) -> datetime | None:
        """When the first container began to stage in."""
        if self.container is not None:
            return min(self._times, default=None)
        times = (s.time for s in self.job.transition_times if s.phase in states.RUNNING)
        return min(times, default=None)

    @property
    def ended(self) -> datetime | None:
        """When it ended."""
        if self.container is not None:
            return max(self._times, default=None) if self.phase in states.ENDED else None
        times = (s.time for s in self.job.transition_times if s.phase in states.ENDED)
        return max(times, default=None)

    @property
    def start(self) -> datetime | None:
        """When it began, or is expected to."""
        return self.started or self.job.expected_start

    @property
    def end(self) -> datetime | None:
        """When it ended, or ends at the latest by its time."""
        begun, limit = self.start, self.limit
        if self.ended is not None or begun is None or limit is None:
            return self.ended
        return begun + timedelta(seconds=limit)

    @property
    def ran(self) -> float:
        """Seconds since it began, until now or its end."""
        if self.started is None:
            return 0
        return max(0.0, ((self.ended or datetime.now(UTC)) - self.started).total_seconds())

    @property
    def limit(self) -> float | None:
        """Its run time, in seconds."""
        return _seconds(self.asked("runtime"))

    @property
    def left(self) -> float | None:
        """What is left of it, in seconds."""
        return None if self.limit is None else max(0.0, self.limit - self.ran)

    @property
    def uid(self) -> int | None:
        """The user's number on this machine."""
        try:
            return pwd.getpwnam(self.job.user).pw_uid
        except KeyError:
            return os.getuid() if self.job.user == str(os.getuid()) else None


def _seconds(text: object) -> float | None:
    """Read the ISO 8601 duration of days, hours, minutes and seconds that the gateway writes."""
    if isinstance(text, int | float):
        return float(text)
    if not isinstance(text, str) or not text.startswith("P"):
        return None
    total, number = 0.0, ""
    for letter in text[1:]:
        if letter == "T":
            continue
        if letter in "DHMS":
            total += float(number or 0) * {"D": 86400, "H": 3600, "M": 60, "S": 1}[letter]
            number = ""
        else:
            number += letter
    return total
