"""Which files go to which container: the splitting rule of the protocol, or explicit points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def misfit(
    files: int, containers: int, points: Sequence[int] | None = None
) -> tuple[str, str] | None:
    """Return the field and what is wrong where so many files cannot be split so; None where they can."""
    if containers > files:
        return (
            "num_containers",
            f"must not be more than the {files} input files: a container without a file has "
            f"nothing to do; ask for at most {files}",
        )
    if points is None:
        return None
    last = files - 1
    if len(points) != containers - 1:
        return (
            "split_points",
            f"must be as many as containers less one, {containers - 1}, not {len(points)}; for these, ask for "
            f"num_containers {len(points) + 1}",
        )
    if not all(one < two for one, two in pairwise((0, *points, files))):
        return (
            "split_points",
            f"must be {containers - 1} rising indexes of 1 to {last}, each the first file of the next container",
        )
    return None


def split(files: int, containers: int, points: Sequence[int] | None = None) -> tuple[range, ...]:
    """Share so many files out in order: each container gets n div c, the first n mod c one more.

    Parameters
    ----------
    files
        How many; at least as many as there are containers.
    containers
        At least one.
    points
        In place of that rule: the first file of each container but the first.

    Returns
    -------
    tuple of range
        The files of each container, by its number; none is empty.

    Raises
    ------
    ValueError
        When a container would get nothing; what `misfit` lets pass cannot do that.
    """
    if containers < 1 or misfit(files, containers, points) is not None:
        raise ValueError(f"cannot split {files} files over {containers} containers")
    if points is None:
        each, more = divmod(files, containers)
        points = [number * each + min(number, more) for number in range(1, containers)]
    return tuple(range(*ends) for ends in pairwise((0, *points, files)))
