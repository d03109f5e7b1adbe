"""Where each input file lands below the input mount point, and whether they all can.

The rule is the protocol's for `input_roots`; without roots every file lands flat by base name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.errors import AppCode, ErrorDetail, GatewayError

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


def lay_out(files: Sequence[str], roots: Sequence[str] = ()) -> tuple[str, ...]:
    """Place all files of a job; the order is kept.

    Conflicts are looked for over the whole job, as the original does, although containers do not
    share a directory: a job must not depend on how it happens to be split.

    Parameters
    ----------
    files
        Checked "bucket/key" texts, none twice.
    roots
        `input_roots` of the job.

    Returns
    -------
    tuple of str
        For each file, its path relative to the input mount point.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER when two files land at one place, when one would be a directory of
        another, or when a name is too long; both files are named, and where they stand in the list.
    """
    known = {root.rstrip("/") for root in roots}
    paths = tuple(landing_path(file, known) for file in files)
    errors = _too_long(files, paths) + _collisions(files, paths)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"input_files[{errors[0].loc[1]}]: {errors[0].msg}{more}",
            tuple(errors[:_MAX_DETAILS]),
        )
    return paths


def _too_long(files: Sequence[str], paths: Sequence[str]) -> list[ErrorDetail]:
    errors = []
    for index, (file, path) in enumerate(zip(files, paths, strict=True)):
        longest = max(len(segment.encode("utf-8")) for segment in path.split("/"))
        if longest > MAX_SEGMENT_BYTES:
            errors.append(
                _error(
                    index,
                    f"{file[:100]!r} has a name of {longest} bytes, and a file system takes at "
                    f"most {MAX_SEGMENT_BYTES}; copy the object to a shorter key",
                )
            )
    return errors


def _collisions(files: Sequence[str], paths: Sequence[str]) -> list[ErrorDetail]:
    errors = []
    place: dict[str, int] = {}
    needed_by: dict[str, int] = {}
    for index, path in enumerate(paths):
        if path in place:
            other = place[path]
            errors.append(
                _error(
                    index,
                    f"{files[index]!r} and {files[other]!r} (at {other}) both land at {path!r}; "
                    "rename one, or submit them in different jobs",
                )
            )
            continue
        place[path] = index
        cut = path.rfind("/")
        while cut > 0:
            needed_by.setdefault(path[:cut], index)
            cut = path.rfind("/", 0, cut)
    for path, index in place.items():
        if path in needed_by:
            other = needed_by[path]
            errors.append(
                _error(
                    index,
                    f"{files[index]!r} lands as a file at {path!r}, where {files[other]!r} (at "
                    f"{other}) needs a directory; rename one, or submit them in different jobs",
                )
            )
    return errors


def _error(index: int, text: str) -> ErrorDetail:
    return ErrorDetail(("input_files", index), text)
