"""Which files go to which container: the splitting rule of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def split(items: Sequence[T], containers: int) -> tuple[tuple[T, ...], ...]:
    """Share `items` out in order: each container gets n div c, the first n mod c one more.

    Parameters
    ----------
    items
        At least as many as there are containers.
    containers
        At least one.

    Returns
    -------
    tuple of tuples
        One for each container, by its number; none is empty.

    Raises
    ------
    ValueError
        When a container would get nothing; a checked `JobInput` cannot do that.
    """
    if not 1 <= containers <= len(items):
        raise ValueError(f"cannot split {len(items)} files over {containers} containers")
    each, more = divmod(len(items), containers)
    shares = []
    start = 0
    for number in range(containers):
        end = start + each + (1 if number < more else 0)
        shares.append(tuple(items[start:end]))
        start = end
    return tuple(shares)
