"""The texts that the gateway's code can print, found in its source, to compare the documentation with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.conftest import CHECKOUT

_LEAST = 12  # letters that must be the code's own for a text to count


@cache
def messages() -> tuple[re.Pattern[str], ...]:
    """Return a pattern for every text of some length in `gateway`, what is filled in being anything."""
    found: set[str] = set()
    for path in (CHECKOUT / "gateway").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            found.update(_patterns(node))
    return tuple(re.compile(pattern, re.DOTALL) for pattern in sorted(found))


def _patterns(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        pieces = _pieces(node.value)
    elif isinstance(node, ast.JoinedStr):
        pieces = [piece for value in node.values for piece in _pieces(_literal(value))]
    else:
        return
    letters = sum(len(re.findall(r"[a-z]", piece)) for piece in pieces if piece)
    if letters >= _LEAST:
        yield "".join(".*?" if piece is None else re.escape(piece) for piece in pieces)


def _pieces(text: str | None) -> list[str | None]:
    """Cut a text where str.format fills something in; None is what is filled in."""
    if text is None:
        return [None]
    found: list[str | None] = []
    for number, piece in enumerate(re.split(r"\{\w*\}", text)):
        found += [None, piece] if number else [piece]
    return found


def _literal(value: ast.expr) -> str | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return None


def is_printed(text: str) -> bool:
    """Whether a text, `…` in it being anything, can be or hold what some code prints.

    Of a text that is put together of several the parts of some length are looked for; one is enough.
    """
    parts = [part for part in text.split("…") if len(re.findall(r"[a-z]", part)) >= _LEAST // 2]
    for pattern in messages():
        if pattern.search(text):
            return True
        if parts and all(_holds(pattern.pattern, part) for part in parts):
            return True
    return False


def _holds(pattern: str, part: str) -> bool:
    return any(
        part.strip() in piece
        for piece in re.sub(r"\\(.)", r"\1", pattern.replace(".*?", "\0")).split("\0")
    )
