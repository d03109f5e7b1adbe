"""The `#CTS` lines of a batch script, read as sbatch reads `#SBATCH` (sbatch(1), "DESCRIPTION").

They stand before the first command: the script's text is never run or expanded here, and a line is cut into words by its
quotes alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_SCRIPT = 65_536  # characters, as the job document has it
_MARK = re.compile(r"#CTS(?=[ \t]|$)")
_OTHER = re.compile(r"#SBATCH[ \t]")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./&|*\[\]()-]+", re.ASCII)
_INSIDE = re.compile(r"(?:srun|shifter)(?=[ \t]|$)")


class Line(NamedTuple):
    """A line of directives: its number, from 1, and its words."""

    number: int
    words: tuple[str, ...]


class ScriptError(Exception):
    """A script that cannot be submitted; the text begins with its line, where one is to blame."""


def read_directives(script: str) -> list[Line]:
    """Return the lines of directives of a script.

    Raises
    ------
    ScriptError
        For what is no batch script, and for quotes that are not closed.
    """
    _check(script)
    found = []
    for number, line in enumerate(_head(script), 1):
        mark = _MARK.match(line)
        if mark is None:
            continue
        try:
            words = split_words(line[mark.end() :])
        except ValueError as exc:
            raise ScriptError(f"line {number}: {exc}") from exc
        if words:
            found.append(Line(number, tuple(words)))
    return found


def notes(script: str) -> list[str]:
    """Return what its user may not expect of a script, a sentence each."""
    found = []
    head, lines = _head(script), script.split("\n")
    if any(_OTHER.match(line) for line in head) and not any(_MARK.match(line) for line in head):
        found.append("its #SBATCH lines are not read; write #CTS")
    for number, line in enumerate(lines[len(head) :], len(head) + 1):
        if _MARK.match(line):
            found.append(
                f"line {number}: #CTS is not read behind the first command, as with sbatch"
            )
            break
    for number, line in enumerate([] if "bash" in lines[0] else lines, 1):
        inside = _INSIDE.match(line.lstrip())
        if inside:
            found.append(
                f"line {number}: the script runs inside its image already, where {inside[0]} is for scripts of bash alone; "
                "leave it out"
            )
            break
    return found


def split_words(text: str) -> list[str]:
    r"""Cut a line into words as sbatch does: `"…"` and `'…'` hold blanks, `\` the next letter, and `#` begins a comment.

    Nothing is expanded: `$HOME` is five letters.

    Raises
    ------
    ValueError
        For quotes that are not closed.
    """
    words: list[str] = []
    word: str | None = None
    letters = iter(text)
    for letter in letters:
        if letter in " \t":
            if word is not None:
                words.append(word)
            word = None
        elif letter == "#" and word is None:
            break
        elif letter in "\"'":
            word = (word or "") + _quoted(letter, letters, text)
        elif letter == "\\":
            word = (word or "") + next(letters, "\\")
        else:
            word = (word or "") + letter
    return words if word is None else [*words, word]


def join_words(words: Sequence[str]) -> str:
    """Write words so that `split_words` returns them."""
    return " ".join(_written(word) for word in words)


def _quoted(quote: str, letters: object, text: str) -> str:
    found = ""
    for letter in letters:  # type: ignore[attr-defined]
        if letter == quote:
            return found
        if letter == "\\" and quote == '"':
            following = next(letters, "")  # type: ignore[call-overload]
            found += following if following in ('"', "\\") else "\\" + following
        else:
            found += letter
    raise ValueError(f"a quote {quote} is not closed: {text.strip()[:100]}")


def _written(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _head(script: str) -> list[str]:
    """Return the lines before the first command."""
    found = []
    for line in script.split("\n"):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        found.append(line)
    return found


def _check(script: str) -> None:
    if not script:
        raise ScriptError("it is empty")
    if not script.startswith("#!"):
        raise ScriptError(
            "line 1: a batch script begins with #! and an interpreter of its image, such as #!/bin/bash"
        )
    if "\r\n" in script:
        number = script[: script.index("\r\n")].count("\n") + 1
        raise ScriptError(
            f"line {number}: it ends as on DOS (\\r\\n); turn all to Unix's ends, as dos2unix does"
        )
    if "\0" in script:
        raise ScriptError("it is no text: there is a NUL in it")
    if len(script) > MAX_SCRIPT:
        raise ScriptError(
            f"it has {len(script)} characters, and at most {MAX_SCRIPT} travel with a job; put the rest into an input file"
        )
