"""Features of nodes as a job asks for them: Slurm's expressions of `--constraint` (sbatch(1)).

Checked whole at submission: what Slurm cannot read would else fail the job later.
"""

from __future__ import annotations

import re

_FEATURE = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
_TOKEN = re.compile(rf"(?P<name>{_FEATURE})(?:\*[1-9][0-9]{{0,4}})?|(?P<mark>[&|()\[\]])", re.ASCII)
_CLOSES = {"(": ")", "[": "]"}
MAX_LENGTH = 255


def features(text: str) -> tuple[str, ...]:
    """Return the features that an expression names, in order, each once.

    The expression is names joined by `&` or `|`, each possibly followed by `*` and a number of nodes, in parentheses or
    brackets that are not nested in their own kind.

    Raises
    ------
    ValueError
        When it is none.
    """
    found: list[str] = []
    opened: list[str] = []
    position, wants_name = 0, True
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters, not {len(text)}")
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _wrong(text)
        position = match.end()
        mark = match["mark"]
        if mark is None:
            if not wants_name:
                raise _wrong(text)
            found.append(match["name"])
            wants_name = False
        elif mark in "([":
            if not wants_name or mark in opened:
                raise _wrong(text)
            opened.append(mark)
        elif mark in ")]":
            if wants_name or not opened or _CLOSES[opened.pop()] != mark:
                raise _wrong(text)
        elif wants_name:
            raise _wrong(text)
        else:
            wants_name = True
    if wants_name or opened:
        raise _wrong(text)
    return tuple(dict.fromkeys(found))


def _wrong(text: str) -> ValueError:
    return ValueError(
        "must be features of nodes joined by & or |, with ( ) or [ ] around some of them, such as "
        f"gpu&hbm80g or [rack1|rack2], not {text[:100]!r}"
    )
