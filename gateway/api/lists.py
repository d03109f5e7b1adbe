"""The parameters that narrow lists of jobs down, and their pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from gateway import wire
from gateway.jobs.filters import START, Narrow, read_cursor, read_image, read_labels

Name = Annotated[str | None, Query(description="Jobs of just this name.")]
Labels = Annotated[
    list[str] | None,
    Query(description="key or key=value; may be there more than once, and all must hold."),
]
ImageFilter = Annotated[
    str | None, Query(description="An image as users write it: a name, name:tag or name@digest.")
]
Cursor = Annotated[
    str | None,
    Query(
        description=f"For pages, the last submitted job first: {START}, then the `next` of the page before.",
        pattern=r"^(start|[1-9][0-9]{0,17})$",
    ),
]


def narrowed(
    name: str | None,
    labels: Sequence[str] | None,
    image: str | None,
    cursor: str | None,
    *,
    shared: bool = False,
) -> Narrow:
    """Read them.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER, IMAGE_NAME_PARSE.
    """
    return Narrow(
        name,
        read_labels(labels or ()),
        None if image is None else read_image(image),
        None if cursor is None else read_cursor(cursor),
        shared,
    )


def page(found: Sequence[wire.JobPreview], limit: int, narrow: Narrow) -> wire.Jobs:
    """Make the answer: a page that is full may have another behind it."""
    more = narrow.cursor is not None and len(found) == limit
    return wire.Jobs(jobs=list(found), next=found[-1].id if more else None)
