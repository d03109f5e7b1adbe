"""Arrays of tasks as sbatch writes them (`--array`, sbatch(1)): 0-15, or 1,3,5, or 1-9:2, with %4 behind it for the most at once.

Each task is a container. Its number reaches it in Slurm's variables; the container itself counts from 0, as ever.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

MAX_TASKS = 1000
MAX_NUMBER = 4_000_000  # as Slurm's largest MaxArraySize
_PART = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7})(?::([0-9]{1,7}))?)?", re.ASCII)
_MOST = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_FORMS = "write 0-15, 1,3,5 or 1-9:2, possibly with %4 behind it for the most at once"


class Array(NamedTuple):
    """The numbers of the tasks, rising, and how many may run at one time; None: as many as there is room for."""

    numbers: tuple[int, ...]
    at_once: int | None


def parse_array(text: str) -> Array:
    """Read an array.

    Raises
    ------
    ValueError
        With the rule and the forms that there are.
    """
    listed, percent, most = text.partition("%")
    if len(text) > 10_000 or (percent and not _MOST.fullmatch(most)):
        raise ValueError(f"{text[:100]!r} is no array; {_FORMS}")
    numbers: set[int] = set()
    for part in listed.split(","):
        numbers.update(_numbers(part))
        if len(numbers) > MAX_TASKS:
            raise ValueError(f"{text[:100]!r} has over {MAX_TASKS} tasks; cut it into several jobs")
    return Array(tuple(sorted(numbers)), int(most) if percent else None)


def _numbers(part: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part[:100]!r} is no task or range of tasks; {_FORMS}")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if last < first or step < 1:
        raise ValueError(f"{part!r} has no tasks: ranges rise, and steps are at least 1; {_FORMS}")
    if last > MAX_NUMBER:
        raise ValueError(f"{part!r} has a number over {MAX_NUMBER}; {_FORMS}")
    found = range(first, last + 1, step)
    return found[: MAX_TASKS + 1]  # more are refused, and need not be counted


def variables(array: Array, position: int) -> dict[str, str]:
    """Return Slurm's variables of a task (sbatch(1), "OUTPUT ENVIRONMENT VARIABLES"), by its place among the numbers."""
    numbers = array.numbers
    found = {
        "SLURM_ARRAY_TASK_ID": numbers[position],
        "SLURM_ARRAY_TASK_COUNT": len(numbers),
        "SLURM_ARRAY_TASK_MIN": numbers[0],
        "SLURM_ARRAY_TASK_MAX": numbers[-1],
    }
    steps = {two - one for one, two in pairwise(numbers)} or {1}
    if len(steps) == 1:
        found["SLURM_ARRAY_TASK_STEP"] = steps.pop()
    return {name: str(number) for name, number in found.items()}
