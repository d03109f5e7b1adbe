"""Waiting for the end of jobs: progress, time-out, interruption, and the exit code that tells how they ended."""

from __future__ import annotations

import time

import typer

from gateway.cli import common, states
from gateway.cli.progress import progress
from gateway.cli.refs import job_of
from gateway.cli.text import clean, print_json
from gateway.client import Client
from gateway.wire import JobStatus


def finish(
    client: Client, ids: list[str], timeout: float | None, *, as_json: bool, verbose: bool
) -> int:
    """Wait until jobs have ended; returns the exit code.

    What is no job of the caller's is told at once, and the others are waited for. `timeout` is in seconds, for all together.
    """
    jobs, worst = common.for_each(ids, lambda text: client.status(_job(text)))
    deadline = None if timeout is None else time.monotonic() + timeout
    seen: dict[str, JobStatus] = {}
    try:
        with progress(client, verbose=verbose) as shown:
            for job in jobs:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    seen[job] = client.wait(job, left, shown.see)
                except TimeoutError:
                    seen[job] = client.status(job)
    except KeyboardInterrupt:
        if running := [job for job in jobs if job not in seen]:
            names = " ".join(running)
            typer.echo(
                f"\n{_jobs(running)} not canceled; wait again with: cts wait {names}; or cancel with: cts cancel {names}",
                err=True,
            )
        raise
    if as_json:
        print_json([client.job(job) for job in seen])
    for status in seen.values():
        worst = max(worst, _verdict(client, status, timeout))
    return worst


def _verdict(client: Client, status: JobStatus, timeout: float | None) -> int:
    name = clean(status.id)
    if status.state == "complete":
        return common.OK
    if status.state not in states.ENDED:
        typer.echo(
            f"job {name} has not ended in {timeout:g} s: it is in phase {clean(status.phase)}, and goes on",
            err=True,
        )
        return common.JOB_FAILED
    error = client.job(status.id).error
    note = f": {clean(error)}" if error else ""
    typer.echo(f"job {name} is {status.state}{note}", err=True)
    return common.JOB_FAILED


def _job(text: str) -> str:
    return job_of(text, "cts wait {job}")


def _jobs(names: list[str]) -> str:
    return f"job {names[0]} is" if len(names) == 1 else f"jobs {', '.join(names)} are"
