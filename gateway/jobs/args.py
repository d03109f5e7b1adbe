"""The argument list and the environment of one container.

Nothing here is quoted, and nothing may be: arguments travel as lists and never meet a shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.jobs.document import place_text
from gateway.jobs.params import Parameter, ParameterType, Params

# execve(2): one string is at most 32 pages (MAX_ARG_STRLEN, 131,072 bytes with its NUL), and all strings and
# their pointers at most a quarter of the stack limit (2 MiB of the usual 8). Apptainer 1.4 also hands all of it on
# in one JSON document of at most 1,048,448 bytes. Room is left in both for the image's own entrypoint and variables.
MAX_STRING_BYTES = 130_000
MAX_JSON_BYTES = 1_000_000
MAX_EXEC_BYTES = 2_000_000
_ARG_EXTRA = (3, 9)  # quotes and comma in JSON; NUL and pointer in execve
_VARIABLE_EXTRA = (6, 22)  # the same for NAME=value, and Apptainer's prefix to the name
# How much longer than in UTF-8 a character is in that document, as Go's encoding/json writes it.
_LONGER = {**dict.fromkeys('"\\', 1), **dict.fromkeys("<>&", 5), **dict.fromkeys("\u2028\u2029", 3)}


class Rendered(NamedTuple):
    """What follows the entrypoint, and what is set in the environment."""

    args: list[str]
    environment: dict[str, str]


def render(
    params: Params,
    files: Sequence[str],
    *,
    number: int = 0,
    manifest: str | None = None,
    more: Sequence[str] = (),
) -> Rendered:
    """Make the arguments and the environment of one container.

    Parameters
    ----------
    params
        Of the job.
    files
        Paths of this container's input files inside the container, in order; at least one.
    number
        The container's number, from 0.
    manifest
        Path of its manifest inside the container, where a parameter asks for one.
    more
        Arguments of this container alone, behind those of the job.

    Raises
    ------
    GatewayError
        REQUEST_VALIDATION when a file name cannot stand in a comma-separated list, or when the
        whole is more than Linux can start a program with.
    """
    args: list[str] = []
    for index, item in enumerate(params.args or ()):
        if isinstance(item, Parameter):
            values = _values(item, files, number, manifest, ("params", "args", index))
            args.extend(_with_flag(item, values))
        else:
            args.append(item)
    args.extend(more)
    environment: dict[str, str] = {}
    for name, item in (params.environment or {}).items():
        if isinstance(item, Parameter):
            place = ("params", "environment", name)
            (environment[name],) = _values(item, files, number, manifest, place)
        else:
            environment[name] = item
    _check_size(args, environment, number, params.input_mount_point)
    return Rendered(args, environment)


def _values(
    item: Parameter,
    files: Sequence[str],
    number: int,
    manifest: str | None,
    place: tuple[str | int, ...],
) -> list[str]:
    if item.type is ParameterType.CONTAINER_NUMBER:
        return [f"{item.container_num_prefix or ''}{number}{item.container_num_suffix or ''}"]
    if item.type is ParameterType.MANIFEST_FILE:
        if manifest is None:
            raise ValueError("a parameter asks for a manifest, and none was given")
        return [manifest]
    if not item.comma_separated:
        return list(files)
    for file in files:
        if "," in file:
            raise _refuse(
                place,
                f"{file!r} has a comma and cannot stand in a comma-separated list; use "
                "space_separated_list or repeat_parameter in args, or copy the object to another "
                "key",
            )
    return [",".join(files)]


def _with_flag(item: Parameter, values: list[str]) -> list[str]:
    """Put the flag before the values: before each one where it repeats, else before the first."""
    flag = item.flag
    if flag is None:
        return values
    glued = flag.endswith("=")
    if item.repeats:
        if glued:
            return [flag + value for value in values]
        return [part for value in values for part in (flag, value)]
    return [flag + values[0], *values[1:]] if glued else [flag, *values]


def _check_size(args: list[str], environment: dict[str, str], number: int, mount: str) -> None:
    remedy = (
        f"use more containers (num_containers) with fewer files each, or let the program read the "
        f"directory {mount}"
    )
    json_bytes = exec_bytes = 0
    strings = [(("params", "args"), arg, _ARG_EXTRA) for arg in args] + [
        (("params", "environment", name), f"{name}={value}", _VARIABLE_EXTRA)
        for name, value in environment.items()
    ]
    for place, text, (json_extra, exec_extra) in strings:
        size = len(text.encode("utf-8"))
        if size > MAX_STRING_BYTES:
            raise _refuse(
                place,
                f"one string for container {number} has {size} bytes, and Linux passes at most "
                f"{MAX_STRING_BYTES} in one; in args use space_separated_list or "
                f"repeat_parameter, or {remedy}",
            )
        json_bytes += _json_size(text) + json_extra
        exec_bytes += size + exec_extra
    for total, most in ((json_bytes, MAX_JSON_BYTES), (exec_bytes, MAX_EXEC_BYTES)):
        if total > most:
            raise _refuse(
                ("params",),
                f"arguments and environment of container {number} come to {total} bytes as they are handed on, "
                f"and at most {most} can be given to a container; {remedy}",
            )


def _json_size(text: str) -> int:
    """Bytes of a printable text in Apptainer's JSON, without its quotes."""
    return len(text.encode("utf-8")) + sum(
        longer * text.count(char) for char, longer in _LONGER.items()
    )


def _refuse(place: tuple[str | int, ...], text: str) -> GatewayError:
    return GatewayError(
        AppCode.REQUEST_VALIDATION, f"{place_text(place)}: {text}", (ErrorDetail(place, text),)
    )
