"""Why a job waits, for people: the reason, its place in the queue, and when it is expected to start."""

from __future__ import annotations

from gateway.cli.text import local
from gateway.wire import JobStatus


def why(job: JobStatus) -> str:
    """Return all that is known, in one line; empty where nothing is."""
    parts = [job.reason] if job.reason else []
    if job.queue_position is not None:
        parts.append(place(job.queue_position))
    if job.expected_start is not None:
        parts.append(f"expected to start {local(job.expected_start)}")
    return "; ".join(parts)


def place(position: int) -> str:
    """Say a place in the queue."""
    return f"{position} in the queue"
