"""Staging an image at a site: it is converted into the cache before a job wants it, under the lock by which jobs do."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from .files import Job, StepResult
from .image import ensure, login
from .image_build import ImageError
from .mailbox import Stop, Stopped
from .place import Place

if TYPE_CHECKING:
    from .report import Report


def stage_image(job: Job, place: Place, report: Report, stop: Stop) -> StepResult:
    """Have the image of a job in the cache; return how that ended."""
    mailbox = report.mailbox
    if mailbox is None:
        return StepResult("agent-failed", error="there is no mailbox")
    report.phase("stage-in")
    try:
        cached = ensure(job, place.pull, stop, say=_say, ask=partial(login, mailbox, stop))
    except ImageError as exc:
        return StepResult("image-failed", error=str(exc))
    except Stopped as exc:
        if exc.reason == "timeout":
            why = "the time for staging was over before the image was converted (refdata_minutes of the site)"
            return StepResult("image-failed", error=why)
        return StepResult(exc.reason, error="it was canceled before the image was converted")
    report.steps["stage-in"] = StepResult("ok", image_cached=cached)
    return StepResult("ok", exit_code=0)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
