"""Options that narrow lists of jobs down, and those that add to a job what its file does not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from gateway.cli.common import UserError
from gateway.cli.refs import job_of

Name = Annotated[str | None, typer.Option("--name", help="Only jobs of just this name.")]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        help="Only jobs with this label, key or key=value; as often as needed, all must hold.",
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", help="Only jobs of this image: a name, name:tag or name@digest."),
]
NewLabels = Annotated[
    list[str] | None,
    typer.Option("--label", help="A label for the job, key=value; as often as needed."),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="Within a day, the same job with the same key is submitted once, however often this is run.",
    ),
]


Dependencies = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dependency",
        help="Jobs that must end first: afterok:12:13,afterany:14, as for sbatch; all must hold.",
    ),
]


def with_dependencies(job: dict[str, Any], text: str | None) -> dict[str, Any]:
    """Return a job that also waits for those that are named as sbatch has it.

    Raises
    ------
    UserError
        For another form, or a container in place of a job.
    """
    if text is None:
        return job
    found = [{"job_id": number, "condition": kind} for kind, number in _dependencies(text)]
    had = job.get("depends_on")
    return {**job, "depends_on": [*(had if isinstance(had, list) else ()), *found]}


# What Slurm has, and the gateway has not (sbatch(1), --dependency).
_OTHER_KINDS = {
    "after": "a job begins when others have ended; write afterok:JOB or afterany:JOB",
    "afternotok": "write afterany:JOB, and let the job look at what the other one left",
    "aftercorr": "tasks do not wait for tasks; write afterok:JOB for the whole of the other job",
    "afterburstbuffer": "outputs are in S3 when a job has ended; write afterok:JOB",
    "singleton": "name the jobs that must end first: afterany:JOB",
}


def _dependencies(text: str) -> Iterator[tuple[str, str]]:
    if "?" in text:
        raise UserError(
            f"--dependency: {text[:100]!r}: all must hold here; write , in place of ?, or submit a job for each"
        )
    for part in text.split(","):
        kind, *jobs = part.strip().split(":")
        if kind in _OTHER_KINDS:
            raise UserError(f"--dependency: {kind} is not known here: {_OTHER_KINDS[kind]}")
        if kind not in ("afterok", "afterany") or not jobs:
            raise UserError(
                f"--dependency: {part.strip()!r} is not known here; write afterok:JOB or afterany:JOB, several jobs with : "
                "and several kinds with , between"
            )
        for number in jobs:
            yield kind, job_of(number, "cts submit -d " + kind + ":{job}")


def with_labels(job: dict[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    """Return a job with labels added, which win over those of the same key that it has.

    Raises
    ------
    UserError
        When one is not `key=value`.
    """
    if not labels:
        return job
    given: dict[str, str] = {}
    for text in labels:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UserError(f"--label: {text!r} is no label; write key=value")
        given[key] = value
    had = job.get("labels")
    return {**job, "labels": {**(had if isinstance(had, dict) else {}), **given}}
