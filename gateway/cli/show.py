"""How jobs are shown to people: the list, and one job with its history, containers and outputs."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from gateway.cli.common import clean, local, table
from gateway.wire import Container, Job, JobPreview


def job_list(found: Iterable[JobPreview]) -> None:
    """Print a line a job."""
    rows = [
        (
            job.id,
            job.name or "",
            job.user,
            job.job_input.get("cluster"),
            job.state,
            job.phase,
            local(job.transition_times[-1].time) if job.transition_times else "",
            job.error or job.reason or "",
        )
        for job in found
    ]
    table(("JOBID", "NAME", "USER", "SITE", "STATE", "PHASE", "UPDATED", "NOTE"), rows)


def whole_job(job: Job, containers: Iterable[Container]) -> None:
    """Print all of a job."""
    lines: list[tuple[str, object]] = [
        ("Job", job.id),
        ("Name", job.name or ""),
        ("User", job.user),
        ("Site", job.job_input.get("cluster")),
        ("State", f"{job.state} ({job.phase})"),
        ("Reason", job.reason or ""),
        ("Error", job.error or ""),
        ("Image", job.image.name + (f":{job.image.tag}" if job.image.tag else "")),
        ("Digest", job.image.digest),
        ("SlurmID", ", ".join(job.slurm_jobs) or "none yet"),
        ("Inputs", job.input_file_count),
        ("Output", job.job_input.get("output_dir")),
    ]
    fields(lines)
    typer.echo("\nHistory")
    table(
        ("TIME", "STATE", "PHASE"),
        [(local(t.time, "milliseconds"), t.state, t.phase) for t in job.transition_times],
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
                c.error or c.reason,
            )
            for c in containers
        ],
    )
    if job.outputs:
        typer.echo("\nOutputs")
        table(("FILE", "BYTES", "CRC64NVME"), [(o.file, o.size, o.crc64nvme) for o in job.outputs])


def one_container(container: Container) -> None:
    """Print all of a container."""
    fields(
        [
            ("Container", container.id),
            ("State", f"{container.state} ({container.phase})"),
            ("Exit", _exit(container)),
            ("Reason", container.reason),
            ("Error", container.error),
            ("Node", container.node),
            ("SlurmID", container.slurm_job_id),
            ("Slurm", container.slurm_state),
        ]
    )
    if container.times:
        typer.echo("\nTimes")
        table(
            ("PHASE", "BEGIN", "END"),
            [(phase, *[*times, None, None][:2]) for phase, times in container.times.items()],
        )
    if container.outputs:
        typer.echo("\nOutputs")
        table(
            ("FILE", "BYTES", "CRC64NVME"),
            [(o.file, o.size, o.crc64nvme) for o in container.outputs],
        )


def fields(lines: Iterable[tuple[str, object]]) -> None:
    """Print a line a field, without the empty ones."""
    for title, value in lines:
        if value not in ("", None):
            typer.echo(f"{title:<9} {clean(value)}")


def _exit(container: Container) -> object:
    return f"signal {container.signal}" if container.signal else container.exit_code
