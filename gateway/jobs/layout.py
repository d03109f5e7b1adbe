"""Where each input file lands below the input mount point, and whether they all can.

The rule is the protocol's for `input_roots`; without roots every file lands flat by base name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.document import Place, place_text

MAX_SEGMENT_BYTES = 255  # NAME_MAX of every file system that Linux clusters use
_MAX_DETAILS = 100


def landing_path(file: str, roots: Collection[str] = ()) -> str:
    """Return the path of one file relative to the input mount point.

    A root is matched by whole segments. The longest root that is not the file itself wins, and the
    file keeps its path below it; "" keeps the whole path, bucket included. Without such a root the
    file lands by its base name.

    Parameters
    ----------
    file
        A checked "bucket/key".
    roots
        "bucket" or "bucket/prefix", without closing slashes, or "". A set if many.
    """
    cut = file.rfind("/")
    base = file[cut + 1 :]
    while cut > 0:
        if file[:cut] in roots:
            return file[cut + 1 :]
        cut = file.rfind("/", 0, cut)
    return file if "" in roots else base


def lay_out(
    files: Sequence[str],
    roots: Sequence[str] = (),
    *,
    places: Sequence[Place] | None = None,
    generated: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Place all files of a job; the order is kept.

    Conflicts are looked for over the whole job, as the original does, although containers do not
    share a directory: a job must not depend on how it happens to be split.

    Parameters
    ----------
    files
        Checked "bucket/key" texts.
    roots
        `input_roots` of the job.
    places
        Where the document names each file; by default in `input_files`.
    generated
        Names of files that the gateway writes into the input directory, and what each is.

    Returns
    -------
    tuple of str
        For each file, its path relative to the input mount point.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER when a file is there twice, when two land at one place, when one would be
        a directory of another, or when a name is too long; both files are named, and where they stand.
    """
    known = {root.rstrip("/") for root in roots}
    paths = tuple(landing_path(file, known) for file in files)
    if places is None:
        places = [("input_files", index) for index in range(len(files))]
    inputs = [Input(*each) for each in zip(files, paths, places, strict=True)]
    errors = _too_long(inputs) + _collisions(inputs) + _in_the_way(inputs, generated or {})
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"{place_text(errors[0].loc)}: {errors[0].msg}{more}",
            tuple(errors[:_MAX_DETAILS]),
        )
    return paths


class Input(NamedTuple):
    """A file, the path that it lands at, and its place in the document."""

    file: str
    path: str
    loc: Place


def _too_long(inputs: Sequence[Input]) -> list[ErrorDetail]:
    errors = []
    for each in inputs:
        longest = max(len(segment.encode("utf-8")) for segment in each.path.split("/"))
        if longest > MAX_SEGMENT_BYTES:
            errors.append(
                ErrorDetail(
                    each.loc,
                    f"{each.file[:100]!r} has a name of {longest} bytes, and a file system takes at "
                    f"most {MAX_SEGMENT_BYTES}; copy the object to a shorter key",
                )
            )
    return errors


def _collisions(inputs: Sequence[Input]) -> list[ErrorDetail]:
    errors = []
    place: dict[str, Input] = {}
    needed_by: dict[str, Input] = {}
    for each in inputs:
        other = place.get(each.path)
        if other is not None:
            errors.append(ErrorDetail(each.loc, _both(each, other)))
            continue
        place[each.path] = each
        cut = each.path.rfind("/")
        while cut > 0:
            needed_by.setdefault(each.path[:cut], each)
            cut = each.path.rfind("/", 0, cut)
    for path, each in place.items():
        if path in needed_by:
            other = needed_by[path]
            errors.append(
                ErrorDetail(
                    each.loc,
                    f"{each.file!r} lands as a file at {path!r}, where {other.file!r} (at "
                    f"{place_text(other.loc)}) needs a directory; rename one, or submit them in different jobs",
                )
            )
    return errors


def _both(one: Input, other: Input) -> str:
    at = place_text(other.loc)
    if one.file == other.file:
        return f"{one.file!r} is there twice, the other time at {at}; list each file once"
    return (
        f"{one.file!r} and {other.file!r} (at {at}) both land at {one.path!r}; keep their "
        "directories with input_roots, rename one, or submit them in different jobs"
    )


def _in_the_way(inputs: Sequence[Input], generated: Mapping[str, str]) -> list[ErrorDetail]:
    """Find inputs at the places of files that the gateway writes."""
    return [
        ErrorDetail(
            each.loc,
            f"{each.file!r} lands at {each.path!r}, where the gateway writes {what}; rename the object, or keep "
            "its directory with input_roots",
        )
        for each in inputs
        if (what := generated.get(each.path.partition("/")[0])) is not None
    ]
