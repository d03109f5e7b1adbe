"""Reading a job that a user wrote: JSON, or YAML for what is no JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, BinaryIO

from gateway.cli.common import UserError

_MOST = 32 << 20  # bytes; the gateway takes no more


def read_job(file: str) -> dict[str, Any]:
    """Read a file, or standard input for `-`.

    Raises
    ------
    UserError
        When it cannot be read, or holds no object. The text names the file, the rule and the line.
    """
    name = "standard input" if file == "-" else file
    document = _parse(name, _decode(name, _read(name, file)))
    if not isinstance(document, dict):
        raise UserError(
            f"{name} must hold one object with the job's fields (cluster, image, input_files, output_dir, …), not "
            f"{_kind(document)}; see docs/job.md"
        )
    return document


def _read(name: str, file: str) -> bytes:
    try:
        if file == "-":
            return _some(name, sys.stdin.buffer)
        with Path(file).open("rb") as stream:
            return _some(name, stream)
    except OSError as exc:
        raise UserError(f"cannot read {name}: {exc.strerror or exc}") from exc
    except ValueError as exc:  # a NUL in the name
        raise UserError(f"cannot read {name!r}: {exc}") from exc


def _some(name: str, stream: BinaryIO) -> bytes:
    raw = stream.read(_MOST + 1)
    if len(raw) > _MOST:
        raise UserError(f"{name} is over {_MOST >> 20} MiB; split the work over several jobs")
    return raw


def _decode(name: str, raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{name} is UTF-16; save it in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise UserError(
            f"{name} is not UTF-8 at byte {exc.start} (line {line}); save it in UTF-8"
        ) from exc


def _parse(name: str, text: str) -> object:
    if not text.strip():
        raise UserError(f"{name} is empty; a job has fields: see docs/job.md")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except _JobFileError as exc:
        raise UserError(f"{name}: {exc}") from exc
    except RecursionError as exc:
        raise UserError(f"{name} is nested too deep") from exc
    except ValueError as exc:
        # What begins as an object is meant as JSON, also on standard input: YAML's complaints would lead astray.
        if name.endswith(".json"):
            raise UserError(f"{name} is not valid JSON: {exc}") from exc
        trouble = exc
    from gateway.cli.yamlfile import parse_yaml  # noqa: PLC0415 - it is slow to import

    try:
        return parse_yaml(text)
    except RecursionError as exc:
        raise UserError(f"{name} is nested too deep") from exc
    except ValueError as exc:
        if text.lstrip().startswith("{") and not name.endswith((".yaml", ".yml")):
            raise UserError(f"{name} is not valid JSON: {trouble}") from exc
        raise UserError(f"{name}: {exc}") from exc


class _JobFileError(Exception):
    """What JSON would let pass, and no job may have."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _JobFileError(f"{name!r} is there twice; leave one")
        found[name] = value
    return found


def _no_constant(word: str) -> float:
    raise _JobFileError(f"{word} is no number of JSON")


def _kind(document: object) -> str:
    names = {list: "a list", str: "text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(document), "a number")
