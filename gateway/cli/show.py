"""How jobs and sites are shown to people: the lists, one job with its history, one container, one phase."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import typer

from gateway.cli.common import NO_SUCH, UserError
from gateway.cli.text import duration, fields, local, local_iso, print_json, size, table
from gateway.cli.waits import place, why
from gateway.client import Client
from gateway.errors import AppCode
from gateway.ids import PHASES, JobRef
from gateway.wire import Attempt, Container, Job, JobImage, JobPreview, Output


def job_list(found: Sequence[JobPreview], *, as_json: bool) -> None:
    """Print a line a job."""
    if as_json:
        print_json(found)
        return
    rows = [
        (
            job.id,
            job.name or "",
            job.user,
            job.job_input.get("cluster"),
            job.state,
            job.phase,
            local(job.transition_times[-1].time) if job.transition_times else "",
            job.error or why(job),
        )
        for job in found
    ]
    table(("JOBID", "NAME", "USER", "SITE", "STATE", "PHASE", "UPDATED", "NOTE"), rows)


def whole_job(job: Job, containers: Iterable[Container]) -> None:
    """Print all of a job."""
    fields(
        [
            ("Job", job.id),
            ("Name", job.name or ""),
            ("Labels", _labels(job.job_input.get("labels"))),
            ("User", job.user),
            ("Shared", _shared(job)),
            ("Site", job.job_input.get("cluster")),
            ("State", f"{job.state} ({job.phase})"),
            ("Reason", job.reason or ""),
            ("Queue", "" if job.queue_position is None else place(job.queue_position)),
            ("Expected", local(job.expected_start) if job.expected_start else ""),
            ("Error", job.error or ""),
            ("Canceled", f"by {job.cancel_by}" if job.cancel_by else ""),
            ("Image", job.image.name + (f":{job.image.tag}" if job.image.tag else "")),
            ("Digest", job.image.digest),
            ("Runs", _variant(job.image)),
            ("SlurmID", ", ".join(job.slurm_jobs) or "none yet"),
            ("Inputs", job.input_file_count),
            ("Output", job.job_input.get("output_dir")),
            ("Logs", job.logpath),
        ]
    )
    typer.echo("\nHistory")
    table(
        ("TIME", "STATE", "PHASE", "NOTE"),
        [
            (local(t.time, "milliseconds"), t.state, t.phase, t.detail or "")
            for t in job.transition_times
        ],
    )
    typer.echo("\nContainers")
    table(
        ("ID", "PHASE", "EXIT", "NODE", "SLURMID", "OUTPUTS", "NOTE"),
        [
            (
                c.id,
                c.phase,
                _exit(c),
                c.node,
                c.slurm_job_id,
                len(c.outputs),
                c.error
                or c.reason
                or how_far(c)
                or ("its log was cut" if c.log_truncated else None),
            )
            for c in containers
        ],
    )
    _outputs(job.outputs)


def how_far(container: Container) -> str | None:
    """Say how far a transfer is: `1.20G of 2.00G (60%), 310.00M/s, 00:00:03 left`; None where none is under way."""
    progress = container.progress
    if progress is None:
        return None
    done, total, rate = progress.bytes_done, progress.bytes_total, progress.bytes_per_second
    text = f"{size(done)} of {size(total)} ({100 * done // max(total, 1)}%), {size(rate)}/s"
    return f"{text}, {duration((total - done) / rate)} left" if rate else text


def _labels(labels: object) -> str:
    return ", ".join(f"{k}={v}" for k, v in labels.items()) if isinstance(labels, dict) else ""


def _shared(job: Job) -> str:
    groups = [f"group {name}" for name in job.shared_with.groups]
    return ", ".join([*job.shared_with.users, *groups])


def _variant(image: JobImage) -> str:
    """Say what of an image of several platforms the job runs."""
    if image.platform_digest in (None, image.digest):
        return ""
    return f"{image.platform_digest} ({image.platform})"


def find(client: Client, ref: JobRef) -> Container:
    """Ask for the container that an id names.

    Raises
    ------
    UserError
        When its job has no such container.
    """
    for container in client.containers(str(ref.job_id)):
        if container.index == ref.container:
            return container
    raise UserError(
        f"job {ref.job_id} has no container {ref.container}; they count from 0 (appcode {AppCode.NO_SUCH_SUBJOB.code})",
        NO_SUCH,
    )


def one_container(container: Container, *, as_json: bool) -> None:
    """Print all of a container."""
    if as_json:
        print_json(container)
        return
    fields(
        [
            ("Container", container.id),
            ("State", f"{container.state} ({container.phase})"),
            ("Exit", _exit(container)),
            ("Attempt", container.attempt),
            ("Reason", container.reason),
            ("Progress", how_far(container)),
            ("Error", container.error),
            ("Node", container.node),
            ("SlurmID", container.slurm_job_id),
            ("Slurm", container.slurm_state),
            ("Log", "was cut at the site's limit" if container.log_truncated else None),
        ]
    )
    if container.times:
        typer.echo("\nTimes")
        rows = [(phase, *_times(container, phase)) for phase in PHASES if phase in container.times]
        table(
            ("PHASE", "BEGIN", "END", "ELAPSED"),
            [
                (phase, local_iso(begin), local_iso(end), duration(_elapsed(begin, end)))
                for phase, begin, end in rows
            ],
        )
    if container.earlier:
        typer.echo("\nEarlier attempts")
        table(
            ("ATTEMPT", "ENDED", "EXIT", "NODE", "SLURMID", "NOTE"),
            [
                (a.attempt, local(a.ended), _exit(a), a.node, a.slurm_job_id, a.error)
                for a in container.earlier
            ],
        )
    _outputs(container.outputs)


def one_phase(container: Container, ref: JobRef, *, as_json: bool) -> None:
    """Print what is known of one phase of a container."""
    phase = ref.phase or ""
    begin, end = _times(container, phase)
    state = "ended" if end else "under way" if begin else "not begun"
    if not begin and container.phase in ("complete", "error", "canceled"):
        state = "not done"
    ran = phase == "run"
    known = {
        "id": str(ref),
        "container": container.id,
        "phase": phase,
        "state": state,
        "begin": begin,
        "end": end,
        "elapsed": _elapsed(begin, end),
        "exit_code": container.exit_code if ran else None,
        "signal": container.signal if ran else None,
        "node": container.node,
    }
    if as_json:
        print_json(known)
        return
    fields(
        [
            ("Phase", str(ref)),
            ("State", f"{state}; the container is in {container.phase}"),
            ("Begin", local_iso(begin)),
            ("End", local_iso(end)),
            ("Elapsed", duration(_elapsed(begin, end))),
            ("Exit", _exit(container) if ran else None),
            ("Node", container.node),
        ]
    )


def _times(container: Container, phase: str) -> tuple[str | None, str | None]:
    begin, end = [*container.times.get(phase, []), None, None][:2]
    return begin, end


def _elapsed(begin: str | None, end: str | None) -> float | None:
    """Return the seconds between two times, up to now where there is no end yet."""
    if begin is None:
        return None
    try:
        last = datetime.fromisoformat(end) if end is not None else datetime.now(UTC)
        return max(0.0, (last - datetime.fromisoformat(begin)).total_seconds())
    except (ValueError, TypeError):
        return None


def _outputs(found: Sequence[Output]) -> None:
    if found:
        typer.echo("\nOutputs")
        table(("FILE", "BYTES", "CRC64NVME"), [(o.file, o.size, o.crc64nvme) for o in found])


def _exit(container: Container | Attempt) -> object:
    return f"signal {container.signal}" if container.signal else container.exit_code
