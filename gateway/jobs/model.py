"""What a user asks for when submitting a job: the body of POST /jobs, checked once, here.

What a site allows is in `gateway.jobs.limits`; where files land in
`gateway.jobs.layout`; argument lists in `gateway.jobs.args`.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.array import Array as Tasks
from gateway.array import parse_array
from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.ids import parse_ref
from gateway.images.names import ImageName, parse_image
from gateway.jobs.document import Place, details_of, load_json, place_text
from gateway.jobs.fields import (
    IMAGE_ERROR,
    S3_PATH_ERROR,
    Array,
    Bool,
    Cluster,
    Constraint,
    GlobPath,
    ImageText,
    InputRoot,
    Int,
    LabelKey,
    LabelValue,
    Licenses,
    Literal,
    Memory,
    OutputDir,
    PrefixPath,
    Runtime,
    Script,
    SlurmName,
    check_text,
    error_at,
)
from gateway.jobs.limits import check_site
from gateway.jobs.params import (
    MAX_ARGS,
    TAG_OBJECT,
    TAG_TEXT,
    InputFilesFormat,
    ManifestFileFormat,
    Model,
    Parameter,
    ParameterType,
    Params,
)
from gateway.jobs.parts import (
    MAX_FILES,
    Condition,
    Dependency,
    Files,
    InputFile,
    Sharing,
    in_one_form,
)
from gateway.jobs.quantities import DEFAULT_MEMORY, DEFAULT_RUNTIME
from gateway.jobs.script import interpreter
from gateway.jobs.split import misfit

__all__ = [
    "Condition",
    "Dependency",
    "InputFile",
    "InputFilesFormat",
    "JobInput",
    "ManifestFileFormat",
    "Parameter",
    "ParameterType",
    "Params",
    "Sharing",
    "check_site",
    "load_json",
    "parse_job_input",
    "validation_details",
]

MAX_CONTAINERS = 1000


def _job_name(name: str) -> str:
    check_text(name, 128)
    if name != name.strip():
        raise ValueError("must not start or end with white space")
    try:
        parse_ref(name)
    except GatewayError:
        return name
    raise ValueError(f"{name!r} looks like the id of a job; add a letter")


def _script(text: str) -> str:
    interpreter(text)
    return text


class JobInput(Model):
    """A job as asked for. `memory` is bytes, `runtime` seconds (on the wire an ISO duration)."""

    cluster: Cluster
    image: ImageText
    # Before input_files, which may be left out where one of these is given.
    input_dirs: Annotated[tuple[PrefixPath, ...], Field(max_length=100)] | None = None
    input_globs: Annotated[tuple[GlobPath, ...], Field(max_length=100)] | None = None
    input_files: Annotated[Files, Field(validate_default=True)] = ()
    output_dir: OutputDir
    params: Params = Params()
    num_containers: Annotated[Int, Field(ge=1, le=MAX_CONTAINERS)] = 1
    cpus: Annotated[Int, Field(ge=1, le=4096)] = 1
    memory: Memory = DEFAULT_MEMORY
    runtime: Runtime = DEFAULT_RUNTIME
    input_roots: Annotated[tuple[InputRoot, ...], Field(max_length=MAX_FILES)] | None = None

    # Additions to the original protocol.
    name: Annotated[str, AfterValidator(_job_name)] | None = None
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] | None = None
    allow_empty_output: Bool = False
    shared_inputs: Files | None = None
    script: Annotated[Script, AfterValidator(_script)] | None = None
    split_points: Annotated[tuple[Int, ...], Field(max_length=MAX_CONTAINERS)] | None = None
    depends_on: Annotated[tuple[Dependency, ...], Field(max_length=100)] | None = None
    skip_existing: Bool = False
    gpus: Annotated[Int, Field(ge=0, le=64)] | None = None
    nodes: Annotated[Int, Field(ge=1, le=10_000)] | None = None
    partition: SlurmName | None = None
    qos: SlurmName | None = None
    account: SlurmName | None = None
    constraint: Constraint | None = None
    reservation: SlurmName | None = None
    licenses: Licenses | None = None
    retries: Annotated[Int, Field(ge=0, le=10)] | None = None
    per_container_args: (
        Annotated[
            tuple[Annotated[tuple[Literal, ...], Field(max_length=MAX_ARGS)], ...],
            Field(max_length=MAX_CONTAINERS),
        ]
        | None
    ) = None
    array: Array | None = None
    share_with: Sharing | None = None

    @property
    def image_name(self) -> ImageName:
        """The image's name, normalised."""
        return parse_image(self.image)

    @cached_property
    def files(self) -> tuple[InputFile, ...]:
        """The input files in one form, whichever they were given in; what is to be listed is not among them."""
        return in_one_form(self.input_files)

    @cached_property
    def shared(self) -> tuple[InputFile, ...]:
        """The shared inputs in one form."""
        return in_one_form(self.shared_inputs)

    @cached_property
    def tasks(self) -> Tasks | None:
        """The tasks of its array; None where it is none."""
        return None if self.array is None else parse_array(self.array)

    @property
    def cpu_seconds(self) -> int:
        """What the job asks for at most: cpus x nodes x containers x run time."""
        return self.cpus * (self.nodes or 1) * self.num_containers * self.runtime

    @field_validator("input_files", mode="wrap")
    @classmethod
    def _may_be_left_out(
        cls, value: object, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """Take no list at all, as JSON never gives a tuple, where there are `input_dirs` or `input_globs`."""
        if value != ():
            return check(value)
        if not (info.data.get("input_dirs", True) or info.data.get("input_globs", True)):
            raise PydanticCustomError("missing", "Field required")
        return value

    @model_validator(mode="after")
    def _containers(self) -> Self:
        # With an array each container has all files; what S3 is to list is not known yet.
        if self.tasks is None and not (self.input_dirs or self.input_globs):
            wrong = misfit(len(self.input_files), self.num_containers, self.split_points)
            if wrong is not None:
                raise error_at(wrong[1], wrong[0])
        lists = self.per_container_args
        if lists is not None and len(lists) != self.num_containers:
            raise error_at(
                f"must have one list for each of the {self.num_containers} containers, not "
                f"{len(lists)}",
                "per_container_args",
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _count_tasks(cls, data: object) -> object:
        """An array says how many containers there are; what is no array is told of as that."""
        if isinstance(data, dict) and "array" in data and "num_containers" not in data:
            with suppress(ValueError, AttributeError):
                return {**data, "num_containers": len(parse_array(data["array"]).numbers)}
        return data

    @model_validator(mode="after")
    def _array(self) -> Self:
        tasks = self.tasks
        if tasks is None:
            return self
        if len(tasks.numbers) != self.num_containers:
            raise error_at(
                f"must be {len(tasks.numbers)}, one container for each task of the array {self.array}, not "
                f"{self.num_containers}",
                "num_containers",
            )
        if self.split_points is not None:
            raise error_at(
                "does not go with array, whose tasks get all input files each; leave one of them out",
                "split_points",
            )
        return self

    @model_validator(mode="after")
    def _data_ids(self) -> Self:
        files = self.files
        without = [index for index, item in enumerate(files) if item.data_id is None]
        if without and len(without) != len(files):
            raise error_at(
                "has no data_id while other files have; give one for every file or for none",
                "input_files",
                without[0],
            )
        for place, parameter in self.params.objects():
            wanted = (
                parameter.type is ParameterType.MANIFEST_FILE
                and parameter.manifest_file_format is ManifestFileFormat.DATA_IDS
            )
            if wanted and (without or self.input_dirs or self.input_globs):
                raise error_at(
                    "data_ids needs a data_id for every input file; write input_files as objects "
                    'with "data_id" and leave input_dirs and input_globs out, or use the format files',
                    "params",
                    *place,
                    "manifest_file_format",
                )
        return self


_HIDDEN = frozenset({TAG_TEXT, TAG_OBJECT})
_ELSEWHERE = {"dry_run": "dry_run is no field of the body; leave it out here"}


def _known_fields(place: Place) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "input_files": InputFile,
        "shared_inputs": InputFile,
        "depends_on": Dependency,
        "share_with": Sharing,
    }
    if len(place) == 1:
        return list(JobInput.model_fields)
    if place[0] == "params":
        return list((Params if len(place) == 2 else Parameter).model_fields)
    return list(models[str(place[0])].model_fields)


def _explain_unknown(place: Place) -> str:
    name = str(place[-1])
    if place == (name,) and name in _ELSEWHERE:
        return _ELSEWHERE[name]
    known = _known_fields(place)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(sorted(known))}"
    return f"is no field that is known here; {hint}"


def validation_details(exc: ValidationError) -> tuple[ErrorDetail, ...]:
    """Turn pydantic's errors about a `JobInput` into the protocol's."""
    return details_of(exc, _explain_unknown, _HIDDEN)


def parse_job_input(data: object) -> JobInput:
    """Check a document that is already parsed.

    Raises
    ------
    GatewayError
        ILLEGAL_S3_PATH or IMAGE_NAME_PARSE where every error is of that kind, else
        REQUEST_VALIDATION. The message is one line about the first; `details` has all of them.
    """
    if not isinstance(data, dict):
        message = "The request must be a JSON object with the fields of a job."
        raise GatewayError(
            AppCode.REQUEST_VALIDATION, message, (ErrorDetail((), message, "model_type"),)
        )
    try:
        return JobInput.model_validate(data)
    except ValidationError as exc:
        details = validation_details(exc)
        count = exc.error_count()
        more = f" (and {count - 1} more)" if count > 1 else ""
        message = f"{place_text(details[0].loc)}: {details[0].msg}{more}"
        code = {
            frozenset({S3_PATH_ERROR}): AppCode.ILLEGAL_S3_PATH,
            frozenset({IMAGE_ERROR}): AppCode.IMAGE_NAME_PARSE,
        }.get(frozenset(detail.type for detail in details[:100]), AppCode.REQUEST_VALIDATION)
        raise GatewayError(code, message, details) from exc
