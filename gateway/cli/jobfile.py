"""Reading a job that a user wrote: JSON, or YAML for what is no JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateway.cli import common


def read_job(file: str) -> dict[str, Any]:
    """Read a file, or standard input for `-`; ends the command when it holds no object."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8")
    except OSError as exc:
        common.fail(f"cannot read {file}: {exc.strerror or exc}", common.BAD_INPUT)
    except UnicodeDecodeError as exc:
        common.fail(f"{file} is not UTF-8 at byte {exc.start}; save it in UTF-8", common.BAD_INPUT)
    document = _parse(file, text)
    if not isinstance(document, dict):
        common.fail(
            f"{file} must hold one object with the job's fields; see docs/commands/cts.md",
            common.BAD_INPUT,
        )
    return document


def _parse(file: str, text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as exc:
        common.fail(f"{file}: {exc}", common.BAD_INPUT)
    except RecursionError:
        common.fail(f"{file} is nested too deep", common.BAD_INPUT)
    except ValueError as exc:
        if file.endswith(".json"):
            common.fail(f"{file} is not valid JSON: {exc}", common.BAD_INPUT)
    import yaml  # noqa: PLC0415 - only where it is needed: it is slow to import

    class Loader(yaml.SafeLoader):
        """YAML's safe types, and no name twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            """Make an object."""
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise _TwiceError(f"{twice!r} is there twice; leave one")
            return super().construct_mapping(node, deep)

    try:
        document: object = yaml.load(text, Loader)  # noqa: S506 - it is a safe loader
    except _TwiceError as exc:
        common.fail(f"{file}: {exc}", common.BAD_INPUT)
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        what = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        common.fail(f"{file} is neither JSON nor YAML: {what}{where}", common.BAD_INPUT)
    return document


class _TwiceError(Exception):
    """A name is there twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"{twice!r} is there twice; leave one")
    return found
