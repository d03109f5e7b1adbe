"""YAML as its version 1.2 has it (core schema), for jobs: what is written as text stays text.

PyYAML reads version 1.1, where `runtime: 1:30` is the number 90 in base 60, `1:30:00` is 5400, `010` is 8, `no` is false and
`2026-01-31` is a date. A user means Slurm's 1:30 (minutes and seconds), and the gateway reads that from the text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

# YAML 1.2.2, 10.3.2; an integer with a leading 0 is left as text, for nobody can say which number it would be.
_RESOLVERS = (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), list("-+0123456789")),
    (
        "float",
        re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"),
        list("-+.0123456789"),
    ),
    ("merge", re.compile(r"<<"), ["<"]),
)

_MOST = 200_000  # values; the largest job has a tenth of them


class _Loader(yaml.SafeLoader):
    """Safe types alone, no name twice, names are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own way

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make an object."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a name must be text")
            if key.tag.endswith((":int", ":float", ":bool", ":null")):
                raise _at(key, f"the name {key.value!r} must be text: put it in quotes")
            if key.value in seen:
                raise _at(key, f"{key.value!r} is there twice; leave one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$"), _first
    )


def parse_yaml(text: str) -> object:
    """Read one document.

    Raises
    ------
    ValueError
        With the line, where there is one.
    """
    try:
        document: object = yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        what = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        raise ValueError(f"not valid YAML: {what}{where}") from exc
    _check_size(document)
    return document


def _check_size(document: object) -> None:
    """Refuse what a few lines of aliases blow up, or that holds itself: it is written out whole when it is sent."""
    left, open_ = _MOST, [document]
    while open_:
        node = open_.pop()
        left -= 1
        if left < 0:
            raise ValueError("its aliases (*name) make it too large; write out what the job needs")
        if isinstance(node, dict):
            open_ += node.values()
        elif isinstance(node, list):
            open_ += node


def _at(node: Any, what: str) -> ValueError:
    return ValueError(f"{what} (line {node.start_mark.line + 1})")
