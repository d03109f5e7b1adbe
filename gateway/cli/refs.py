"""Ids as users write them on the command line: 1234, 1234_0, 1234_0.run; several with commas between."""

from __future__ import annotations

import re

from gateway.array import parse_array
from gateway.cli.common import NO_SUCH, UserError
from gateway.errors import GatewayError
from gateway.ids import JobRef, parse_ref

_COMMA = re.compile(r",(?![^\[]*\])")  # outside of brackets
_JOBS = re.compile(r"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})", re.ASCII)
_CONTAINERS = re.compile(r"([1-9][0-9]{0,17})_\[([0-9,:-]+)\](\.[a-z-]+)?", re.ASCII)
_MOST = 10_000


def ref_of(text: str) -> JobRef:
    """Read an id of any form.

    Raises
    ------
    UserError
        When it is none.
    """
    try:
        return parse_ref(text)
    except GatewayError as exc:
        raise UserError(f"{exc.message} (appcode {exc.code.code})", NO_SUCH) from exc


def job_of(text: str, remedy: str) -> str:
    """Read the id of a job, where a container cannot be meant.

    Parameters
    ----------
    text
        What the user wrote.
    remedy
        The command that the user could give; `{job}` in it stands for the job.

    Raises
    ------
    UserError
        For a container or a phase, naming its job; for what is no id.
    """
    ref = ref_of(text)
    if ref.container is not None:
        what = "a container" if ref.phase is None else "a phase of a container"
        raise UserError(
            f"{text} is {what}, and this is done to whole jobs only: "
            + remedy.format(job=ref.job_id)
        )
    return str(ref.job_id)


def listed(text: str) -> list[str]:
    """Split `12,13_0, 14` at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def every(text: str) -> list[str]:
    """Read ids with ranges, `12,13_0,20-25,30_[0-3,7].run`, into single ones.

    Raises
    ------
    UserError
        For what is no id or no range, and for more than 10,000.
    """
    found: list[str] = []
    for part in (part.strip() for part in _COMMA.split(text)):
        jobs, containers = _JOBS.fullmatch(part), _CONTAINERS.fullmatch(part)
        if jobs is not None:
            first, last = int(jobs[1]), int(jobs[2])
            if not 0 <= last - first < _MOST:
                raise UserError(
                    f"{part}: a range of jobs goes up, and has at most {_MOST}", NO_SUCH
                )
            found += [str(number) for number in range(first, last + 1)]
        elif containers is not None:
            try:
                numbers = parse_array(containers[2]).numbers
            except ValueError as exc:
                raise UserError(f"{part}: {exc}", NO_SUCH) from exc
            found += [
                str(ref_of(f"{containers[1]}_{number}{containers[3] or ''}")) for number in numbers
            ]
        elif part:
            found.append(str(ref_of(part)))
    if len(found) > _MOST:
        raise UserError(f"these are {len(found)} jobs and containers; at most {_MOST} are taken")
    return found
