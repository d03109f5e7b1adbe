"""The smaller documents inside a job: its input files, the jobs it waits for, who may read it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from gateway.jobs.fields import Crc64Nvme, DataId, JobId, ObjectPath, Principal, error_at
from gateway.jobs.params import TAG_OBJECT, TAG_TEXT, Model, text_or_object
from gateway.s3.paths import S3Path, parse_object

MAX_FILES = 10_000


class InputFile(Model):
    """One object to read; `file` is normalised "bucket/key"."""

    file: ObjectPath
    crc64nvme: Crc64Nvme | None = None
    data_id: DataId | None = None

    @property
    def path(self) -> S3Path:
        """The object's name."""
        return parse_object(self.file)


class Condition(StrEnum):
    """What must have become of the other job."""

    AFTEROK = "afterok"
    AFTERANY = "afterany"


class Dependency(Model):
    """Another job of the same user that must end first."""

    job_id: JobId
    condition: Condition = Condition.AFTEROK


class Sharing(Model):
    """Who else may read the job."""

    model_config = ConfigDict(json_schema_extra={"example": {"users": ["bob"]}})

    users: Annotated[tuple[Principal, ...], Field(max_length=100)] = ()
    groups: Annotated[tuple[Principal, ...], Field(max_length=100)] = ()


def in_one_form(
    files: tuple[str, ...] | tuple[InputFile, ...] | None,
) -> tuple[InputFile, ...]:
    """Return files as objects, whichever form they were given in; none where there are none."""
    return tuple(InputFile(file=item) if isinstance(item, str) else item for item in files or ())


def _one_form(value: object) -> object:
    """Bound the list and its form first, so that no request gets ten thousand errors."""
    if not isinstance(value, list | tuple):
        return value
    if not 1 <= len(value) <= MAX_FILES:
        raise ValueError(f"must have 1 to {MAX_FILES} files, not {len(value)}")
    first = text_or_object(value[0])
    for index, item in enumerate(value):
        if text_or_object(item) != first:
            form = "an object" if first == TAG_OBJECT else "text"
            raise error_at(
                f'the first file is {form} and this one is not; write all as "bucket/key" or all '
                'as {"file": "bucket/key"}',
                index,
            )
    return value


def _which_form(value: object) -> str:
    if isinstance(value, list | tuple) and value:
        return text_or_object(value[0])
    return TAG_TEXT


def _once_each(
    files: tuple[str, ...] | tuple[InputFile, ...],
) -> tuple[str, ...] | tuple[InputFile, ...]:
    seen: dict[str, int] = {}
    names = (item.file if isinstance(item, InputFile) else item for item in files)
    for index, name in enumerate(names):
        if name in seen:
            raise error_at(
                f"{name!r} is listed twice, at {seen[name]} and {index}; list each file once", index
            )
        seen[name] = index
    return files


Files = Annotated[
    Annotated[
        Annotated[tuple[ObjectPath, ...], Tag(TAG_TEXT)]
        | Annotated[tuple[InputFile, ...], Tag(TAG_OBJECT)],
        Discriminator(_which_form),
    ],
    BeforeValidator(_one_form),
    AfterValidator(_once_each),
]
