"""The input files of a job that S3 is asked for: what the prefixes in `input_dirs` hold, and what matches `input_globs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.globs import fixed_prefix, matcher, parse_glob
from gateway.jobs.model import JobInput
from gateway.jobs.parts import MAX_FILES, InputFile
from gateway.s3.client import ObjectStore
from gateway.s3.paths import parse_object, parse_prefix

MOST_LOOKED_AT = 100_000  # objects below the fixed part of a pattern


def list_dirs(asked: JobInput, objects: ObjectStore) -> list[list[InputFile]]:
    """List each prefix through S3, by key; markers of directories (empty objects whose key ends in a slash) are left out.

    Raises
    ------
    GatewayError
        S3_PATH_NOT_FOUND for a prefix without objects, ILLEGAL_S3_PATH for a key that no input may have,
        REQUEST_VALIDATION past 10,000 files in all; else as `ObjectStore.listed`.
    """
    found: list[list[InputFile]] = []
    left = MAX_FILES - len(asked.input_files)
    for index, text in enumerate(asked.input_dirs or ()):
        prefix = parse_prefix(text)
        rows = objects.listed(prefix.bucket, prefix.key, left)
        files = _files(prefix.bucket, rows)
        left -= len(files)
        if not files:
            raise GatewayError(
                AppCode.S3_PATH_NOT_FOUND,
                f"input_dirs[{index}]: there is no object below {text!r}; check the prefix.",
            )
        if left < 0:
            raise _too_many("input_dirs", index, f"below {text!r} there are", "prefixes")
        found.append(files)
    return found


def list_globs(asked: JobInput, objects: ObjectStore, listed: int) -> list[list[InputFile]]:
    """List what matches each pattern, by key. `listed` files have been listed before.

    Raises
    ------
    GatewayError
        S3_PATH_NOT_FOUND for a pattern that nothing matches, REQUEST_VALIDATION past 10,000 files in all, or where over
        100,000 objects would have to be looked at; else as `list_dirs`.
    """
    found: list[list[InputFile]] = []
    left = MAX_FILES - len(asked.input_files) - listed
    for index, text in enumerate(asked.input_globs or ()):
        pattern = parse_glob(text)
        rows = objects.listed(pattern.bucket, fixed_prefix(pattern), MOST_LOOKED_AT)
        files = _files(pattern.bucket, rows, matcher(pattern))
        left -= len(files)
        if len(rows) > MOST_LOOKED_AT:
            wrong = f"{text!r} leaves over {MOST_LOOKED_AT} objects to be looked at; write more before the first wildcard"
            raise _refused("input_globs", index, wrong)
        if not files:
            raise GatewayError(
                AppCode.S3_PATH_NOT_FOUND,
                f"input_globs[{index}]: no object matches {text!r}; * stands for no slash.",
            )
        if left < 0:
            raise _too_many("input_globs", index, f"with {text!r} there are", "patterns")
        found.append(files)
    return found


def _files(
    bucket: str,
    rows: Iterable[tuple[str, int]],
    wanted: Callable[[str], bool] = lambda _: True,
) -> list[InputFile]:
    return [
        InputFile(file=str(parse_object(f"{bucket}/{key}")))
        for key, size in rows
        if (size or not key.endswith("/")) and wanted(key)
    ]


def _too_many(field: str, index: int, said: str, what: str) -> GatewayError:
    return _refused(
        field,
        index,
        f"{said} more files than a job may have, {MAX_FILES} in all; name narrower {what}",
    )


def _refused(field: str, index: int, wrong: str) -> GatewayError:
    return GatewayError(
        AppCode.REQUEST_VALIDATION,
        f"{field}[{index}]: {wrong}.",
        (ErrorDetail((field, index), wrong),),
    )
