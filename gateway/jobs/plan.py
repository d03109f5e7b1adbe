"""What the containers of a job are given: which files, at which paths, which arguments, which files that the gateway writes.

Pure: nothing is asked here and nothing stored. `gateway.jobs.admission` asks S3 and stores; `gateway.jobs.preview` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.array import variables
from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.args import render
from gateway.jobs.document import Place, place_text
from gateway.jobs.inside import FUNCTIONS_NAME
from gateway.jobs.layout import lay_out
from gateway.jobs.model import JobInput
from gateway.jobs.params import ManifestFileFormat, Parameter, ParameterType
from gateway.jobs.parts import MAX_FILES, InputFile
from gateway.jobs.script import SCRIPT_NAME
from gateway.jobs.split import misfit, split

MAX_SHARED = 100_000  # shared inputs times containers: each container stages its own


@dataclass(frozen=True)
class PlannedContainer:
    """One container. `files` are positions in `Plan.files`; `generated` has the text of each file that is written for it."""

    number: int
    files: range
    args: list[str]
    environment: dict[str, str]
    generated: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """All containers of a job.

    `files` are shared out among them, in this order: `input_files`, then what `input_dirs` and `input_globs` hold; of an
    array, each has all. `shared` go to each.
    `paths` and `shared_paths` are relative to the input mount point.
    """

    files: tuple[InputFile, ...]
    paths: tuple[str, ...]
    shared: tuple[InputFile, ...]
    shared_paths: tuple[str, ...]
    containers: tuple[PlannedContainer, ...]

    @property
    def everything(self) -> tuple[InputFile, ...]:
        """Each object that the job reads, once: `files`, then `shared`."""
        return self.files + self.shared


def make_plan(asked: JobInput, listed: Sequence[Sequence[InputFile]] = ()) -> Plan:
    """Plan a job.

    Parameters
    ----------
    asked
        The job.
    listed
        What S3 has in each of its `input_dirs`, then of each of its `input_globs`, by key.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER for files that cannot stand side by side, REQUEST_VALIDATION for what cannot be split as asked
        for or cannot be handed to a container.
    """
    files = asked.files + tuple(item for each in listed for item in each)
    _check_counts(asked, len(files))
    places: list[Place] = [("input_files", index) for index in range(len(asked.files))]
    dirs = [("input_dirs", index) for index in range(len(asked.input_dirs or ()))]
    globs = [("input_globs", index) for index in range(len(asked.input_globs or ()))]
    places += [where for where, each in zip(dirs + globs, listed, strict=False) for _ in each]
    places += [("shared_inputs", index) for index in range(len(asked.shared))]
    paths = lay_out(
        [item.file for item in files + asked.shared],
        asked.input_roots or (),
        places=places,
        generated=_generated_names(asked),
    )
    mine, shared = paths[: len(files)], paths[len(files) :]
    shares = (
        split(len(files), asked.num_containers, asked.split_points)
        if asked.tasks is None
        else (range(len(files)),) * asked.num_containers
    )
    containers = [_container(asked, n, share, files, mine) for n, share in enumerate(shares)]
    return Plan(files, mine, asked.shared, shared, tuple(containers))


def _check_counts(asked: JobInput, files: int) -> None:
    """Check what can be known only once S3 has listed its files, and hold the model's rules again."""
    if files > MAX_FILES:
        raise _refused(
            "input_dirs" if asked.input_dirs else "input_globs",
            f"with them the job has over {MAX_FILES} input files, the most there may be; name narrower prefixes",
        )
    if asked.tasks is None:
        wrong = misfit(files, asked.num_containers, asked.split_points)
        if wrong is not None:
            raise _refused(*wrong)
    elif files * asked.num_containers > MAX_SHARED:
        raise _refused(
            "array",
            f"{files} files for each of {asked.num_containers} tasks are over {MAX_SHARED} downloads; use fewer tasks, put "
            "the files into one archive, or leave array out, so that the files are split",
        )
    if len(asked.shared) * asked.num_containers > MAX_SHARED:
        raise _refused(
            "shared_inputs",
            f"{len(asked.shared)} files for each of {asked.num_containers} containers are over {MAX_SHARED} "
            "downloads; use fewer containers, or put the files into one archive",
        )


def _manifest(asked: JobInput) -> tuple[Place, Parameter] | None:
    """Return the parameter that asks for manifests, and its place."""
    for place, parameter in asked.params.objects():
        if parameter.type is ParameterType.MANIFEST_FILE:
            return ("params", *place), parameter
    return None


def _generated_names(asked: JobInput) -> dict[str, str]:
    names = {}
    manifest = _manifest(asked)
    if manifest is not None:
        for number in range(asked.num_containers):
            names[manifest_name(number)] = f"the manifest of {place_text(manifest[0])}"
    if asked.script is not None:
        names[SCRIPT_NAME] = "the script of the job"
        names[FUNCTIONS_NAME] = "a file that goes with the script of the job"
    return names


def manifest_name(number: int) -> str:
    """Return the name of a container's manifest in its input directory; containers count from 0, manifests from 1."""
    return f"manifest-{number + 1}"


def _container(
    asked: JobInput,
    number: int,
    share: range,
    files: Sequence[InputFile],
    paths: Sequence[str],
) -> PlannedContainer:
    mount = asked.params.input_mount_point
    inside = [f"{mount}/{paths[position]}" for position in share]
    generated: dict[str, str] = {}
    manifest = _manifest(asked)
    if manifest is not None:
        ids = manifest[1].manifest_file_format is ManifestFileFormat.DATA_IDS
        lines = [files[position].data_id or "" for position in share] if ids else inside
        header = manifest[1].manifest_file_header
        head = [] if header is None else [header]
        generated[manifest_name(number)] = "".join(f"{line}\n" for line in (*head, *lines))
    own = asked.per_container_args[number] if asked.per_container_args else ()
    args, environment = render(
        asked.params,
        inside,
        number=number,
        manifest=f"{mount}/{manifest_name(number)}" if manifest is not None else None,
        more=own,
    )
    tasks = {} if asked.tasks is None else variables(asked.tasks, number)
    return PlannedContainer(number, share, args, {**tasks, **environment}, generated)


def _refused(field: str, text: str) -> GatewayError:
    return GatewayError(
        AppCode.REQUEST_VALIDATION, f"{field}: {text}", (ErrorDetail((field,), text),)
    )
