"""What the prefixes in `input_dirs` of a job hold."""

from __future__ import annotations

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.model import JobInput
from gateway.jobs.parts import MAX_FILES, InputFile
from gateway.s3.client import ObjectStore
from gateway.s3.paths import parse_object, parse_prefix


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
        files = [
            InputFile(file=str(parse_object(f"{prefix.bucket}/{key}")))
            for key, size in rows
            if size or not key.endswith("/")
        ]
        left -= len(files)
        if not files:
            raise GatewayError(
                AppCode.S3_PATH_NOT_FOUND,
                f"input_dirs[{index}]: there is no object below {text!r}; check the prefix.",
            )
        if left < 0:
            wrong = f"below {text!r} there are more files than a job may have, {MAX_FILES} in all; name narrower prefixes"
            raise GatewayError(
                AppCode.REQUEST_VALIDATION,
                f"input_dirs[{index}]: {wrong}.",
                (ErrorDetail(("input_dirs", index), wrong),),
            )
        found.append(files)
    return found
