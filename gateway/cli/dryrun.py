"""How a job that is tried out is shown: what each container would be given, and the batch script."""

from __future__ import annotations

import shlex

import typer

from gateway.cli.text import clean, fields, print_json, table
from gateway.wire import DryRun

_LATE = (
    "\nOther jobs are yet to write some of the inputs; containers get theirs when these have ended."
)
_COMMAND = 200  # characters of a container's command that are shown; --json has all


def show_dry_run(found: DryRun, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print_json(found)
        return
    fields(
        [
            ("Result", "the job is right; nothing was submitted"),
            ("Site", found.cluster),
            ("Choice", found.cluster_choice or ""),
            ("Image", found.image.name + (f":{found.image.tag}" if found.image.tag else "")),
            ("Digest", found.image.digest),
            ("Containers", found.num_containers),
            ("Inputs", found.input_file_count),
            ("Bytes", found.input_bytes),
        ]
    )
    _show_containers(found)
    for number, script in enumerate(found.scripts):
        typer.echo(f"\nScript {number}" if len(found.scripts) > 1 else "\nScript")
        typer.echo("\n".join(clean(line) for line in script.split("\n")), nl=False)


def _show_containers(found: DryRun) -> None:
    if not found.containers:
        typer.echo(_LATE)
        return
    typer.echo("\nContainers")
    table(
        ("ID", "FILES", "FIRST FILE", "COMMAND"),
        [
            (each.index, len(each.input_files), each.input_files[0].file, _short(shlex.join(each.argv)))
            for each in found.containers
        ],
    )  # fmt: skip
    if found.containers_left_out:
        typer.echo(f"and {found.containers_left_out} more")


def _short(text: str) -> str:
    return text if len(text) <= _COMMAND else f"{text[:_COMMAND]}…"
