"""Staging reference data at a site: fetch an archive, unpack it, publish it whole or not at all.

The Slurm job is one like any other, claimed, granted and reported in the same way; only what it runs is
this instead of a container. It needs no job steps: there is one process, and nothing of a user in it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .download import Downloader, StageInError
from .files import Input, Job, Staging, StepResult, read_container, redact
from .mailbox import Mailbox, Stop, Stopped
from .place import Place, remove_tree
from .steps import Progress
from .tree import Bounds, Refused
from .unpack import unpack

if TYPE_CHECKING:
    from .report import Report


def stage(job: Job, staging: Staging, place: Place, report: Report, stop: Stop) -> StepResult:
    """Stage the input of container 0; return how that ended. What is published is complete and read-only.

    An earlier run of the job that was killed may have published it already; else what it left is removed.
    """
    final = staging.directory / staging.name
    temporary = staging.directory / f".{staging.name}.tmp"
    inputs = read_container(place.base / "container.json").inputs
    mailbox = report.mailbox
    if len(inputs) != 1 or mailbox is None:
        return StepResult("agent-failed", error="a staging job has one input")
    try:
        report.phase("stage-in")
        if not final.is_dir():
            _fetch(job, place, mailbox, stop, inputs[0])
        report.steps["stage-in"] = StepResult("ok", transferred=inputs[0].size)
        report.phase("run")
        written = 0
        if not final.is_dir():
            written = _publish(place.inputs / inputs[0].path, staging, temporary, final, stop)
        report.steps["stage-out"] = StepResult("ok", transferred=written)
    except (StageInError, Refused) as exc:
        result = StepResult("stage-in-failed", error=redact(str(exc)))
    except OSError as exc:
        result = StepResult("stage-in-failed", error=f"the site's disk: {exc.strerror or exc}")
    except Stopped as exc:
        result = _stopped(exc.reason)
    else:
        return StepResult("ok", exit_code=0)
    _remove(temporary)
    return result


def _stopped(reason: str) -> StepResult:
    if reason == "timeout":
        why = "the time for staging was over before all was unpacked (refdata_minutes of the site)"
        return StepResult("stage-in-failed", error=why)
    return StepResult(reason, error="it was canceled before all was unpacked")


def _fetch(job: Job, place: Place, mailbox: Mailbox, stop: Stop, item: Input) -> None:
    progress = Progress(place, item.size)
    Downloader(job, place, mailbox, stop, progress.add).fetch([item])


def _publish(archive: Path, staging: Staging, temporary: Path, final: Path, stop: Stop) -> int:
    """Unpack beside the place and rename; return the bytes written.

    Raises
    ------
    Refused, OSError, Stopped
        Then nothing is published.
    """
    begin = time.monotonic()
    staging.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_tree(temporary)  # of a run that was killed
    temporary.mkdir(mode=0o700)
    bounds = Bounds(staging.max_bytes, staging.max_files)
    size, count = unpack(archive, staging.kind, staging.file_name, temporary, bounds, stop)
    temporary.rename(final)
    handle = os.open(staging.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    took = f"{time.monotonic() - begin:.1f} s"
    print(f"{final.name}: {count} members, {size} bytes in {took}", file=sys.stderr, flush=True)
    return size


def _remove(temporary: Path) -> None:
    try:
        remove_tree(temporary)
    except OSError as exc:  # the daemon removes it, too
        print(f"{temporary.name}: {exc.strerror}", file=sys.stderr, flush=True)
