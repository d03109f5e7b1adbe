"""What a container is given on its command line and in its environment (`params` of a job).

Only the rules; `gateway.jobs.args` makes the argument lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from gateway.jobs.document import place_text
from gateway.jobs.fields import (
    Bool,
    EnvName,
    Flag,
    Literal,
    ManifestHeader,
    MountPoint,
    check_variable,
    error_at,
    overlap,
)

# Tags of unions get into pydantic's places of errors; these cannot be the names of fields.
TAG_TEXT = "\0text"
TAG_OBJECT = "\0object"
MAX_ARGS = 10_000
MAX_ENVIRONMENT = 1_000


def text_or_object(value: object) -> str:
    """Tell the two forms of an item apart, so that an error is about the form that was meant."""
    return TAG_OBJECT if isinstance(value, dict | BaseModel) else TAG_TEXT


class Model(BaseModel):
    """Unknown fields are refused; what was checked once does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterType(StrEnum):
    """What a parameter object stands for."""

    INPUT_FILES = "input_files"
    MANIFEST_FILE = "manifest_file"
    CONTAINER_NUMBER = "container_number"


class InputFilesFormat(StrEnum):
    """How the files of a container are put on its command line."""

    COMMA_SEPARATED_LIST = "comma_separated_list"
    SPACE_SEPARATED_LIST = "space_separated_list"
    REPEAT_PARAMETER = "repeat_parameter"


class ManifestFileFormat(StrEnum):
    """What a line of a manifest is."""

    FILES = "files"
    DATA_IDS = "data_ids"


class Parameter(Model):
    """A parameter object; fields of another type than its own are ignored, as by the original."""

    type: ParameterType
    flag: Flag | None = None
    input_files_format: InputFilesFormat | None = None
    manifest_file_format: ManifestFileFormat | None = None
    manifest_file_header: ManifestHeader | None = None
    container_num_prefix: Literal | None = None
    container_num_suffix: Literal | None = None

    @property
    def takes_files(self) -> bool:
        """Whether it stands for the files of the container, themselves or in a manifest."""
        return self.type is not ParameterType.CONTAINER_NUMBER

    @model_validator(mode="after")
    def _formats(self) -> Self:
        if self.type is ParameterType.INPUT_FILES and self.input_files_format is None:
            raise _missing_format("input_files_format", self.type, InputFilesFormat)
        if self.type is ParameterType.MANIFEST_FILE and self.manifest_file_format is None:
            raise _missing_format("manifest_file_format", self.type, ManifestFileFormat)
        if self.repeats and self.flag is None:
            raise error_at("repeat_parameter needs a flag to repeat, such as -i or --in=", "flag")
        return self

    @property
    def repeats(self) -> bool:
        """Whether its flag comes before each file."""
        return (
            self.type is ParameterType.INPUT_FILES
            and self.input_files_format is InputFilesFormat.REPEAT_PARAMETER
        )

    @property
    def comma_separated(self) -> bool:
        """Whether its files are one argument, with commas between."""
        return (
            self.type is ParameterType.INPUT_FILES
            and self.input_files_format is InputFilesFormat.COMMA_SEPARATED_LIST
        )


Item = Annotated[
    Annotated[Literal, Tag(TAG_TEXT)] | Annotated[Parameter, Tag(TAG_OBJECT)],
    Discriminator(text_or_object),
]


class Params(Model):
    """Mount points, arguments and environment of a job's containers."""

    input_mount_point: MountPoint = "/input_files"
    output_mount_point: MountPoint = "/output_files"
    declobber: Bool = False
    refdata_mount_point: MountPoint | None = None
    args: Annotated[tuple[Item, ...], Field(max_length=MAX_ARGS)] | None = None
    environment: Annotated[dict[EnvName, Item], Field(max_length=MAX_ENVIRONMENT)] | None = None

    def objects(self) -> Iterator[tuple[tuple[str, int | str], Parameter]]:
        """All parameter objects, each with its place: ("args", 3) or ("environment", "NAME")."""
        for index, arg in enumerate(self.args or ()):
            if isinstance(arg, Parameter):
                yield ("args", index), arg
        for name, value in (self.environment or {}).items():
            if isinstance(value, Parameter):
                yield ("environment", name), value

    @model_validator(mode="after")
    def _mounts_apart(self) -> Self:
        mounts = [
            (field, mount)
            for field in ("input_mount_point", "output_mount_point", "refdata_mount_point")
            if (mount := getattr(self, field)) is not None
        ]
        for index, (field, mount) in enumerate(mounts):
            for other_field, other in mounts[:index]:
                if overlap(mount, other):
                    raise error_at(
                        f"{mount} and the {other_field} {other} are the same or one is inside the "
                        "other; give each a directory of its own",
                        field,
                    )
        return self

    @model_validator(mode="after")
    def _environment_literals(self) -> Self:
        for name, value in (self.environment or {}).items():
            if isinstance(value, str):
                try:
                    check_variable(name, value)
                except ValueError as exc:
                    raise error_at(str(exc), "environment", name) from exc
        return self

    @model_validator(mode="after")
    def _environment_objects(self) -> Self:
        for place, parameter in self.objects():
            if place[0] == "args":
                continue
            if parameter.flag is not None:
                raise error_at("an environment variable has no flag; leave it out", *place, "flag")
            if parameter.type is ParameterType.INPUT_FILES and not parameter.comma_separated:
                raise error_at(
                    f"{parameter.input_files_format} is for args alone; an environment variable "
                    "takes comma_separated_list, or use a manifest_file",
                    *place,
                    "input_files_format",
                )
        return self

    @model_validator(mode="after")
    def _one_file_object(self) -> Self:
        places = [place for place, parameter in self.objects() if parameter.takes_files]
        if len(places) > 1:
            first = place_text(("params", *places[0]))
            raise error_at(
                "at most one parameter object of a job has file input (input_files or "
                f"manifest_file), and there is one at {first} already",
                *places[1],
            )
        return self


def _missing_format(field: str, kind: ParameterType, formats: type[StrEnum]) -> Exception:
    known = ", ".join(item.value for item in formats)
    return error_at(f"a parameter of type {kind} needs {field}: one of {known}", field)
