"""docs/protocol.md names tests that are there, and says of each row what proves it."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/protocol.md").read_text(encoding="utf-8")
_NAME = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`")


@cache
def _tests(path: str) -> set[str]:
    tree = ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), sorted(set(_NAME.findall(PAGE))))
def test_a_test_that_the_page_names_is_there(path: str, name: str) -> None:
    assert (CHECKOUT / path).is_file()
    assert not name or (name.startswith("test_") and name in _tests(path))


def test_every_row_has_a_test_or_says_that_it_has_none() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) > 70
    for row in rows:
        if not row.endswith("| proved by |"):
            assert _NAME.search(row) or "*not yet*" in row, row
