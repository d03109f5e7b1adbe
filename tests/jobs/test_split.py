"""Sharing files out among containers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.split import split


@pytest.mark.parametrize(
    ("files", "containers", "shares"),
    [
        ("abc", 1, ["abc"]),
        ("abc", 3, ["a", "b", "c"]),
        ("abcde", 2, ["abc", "de"]),
        ("abcdefg", 3, ["abc", "de", "fg"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
    ],
)
def test_the_first_containers_get_one_file_more(
    files: str, containers: int, shares: list[str]
) -> None:
    assert ["".join(share) for share in split(files, containers)] == shares


@pytest.mark.parametrize(("files", "containers"), [("", 1), ("a", 2), ("a", 0), ("a", -1)])
def test_no_container_may_be_left_without_files(files: str, containers: int) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split(files, containers)


@given(st.integers(1, 400).flatmap(lambda c: st.tuples(st.just(c), st.integers(c, 2000))))
def test_splitting_keeps_the_order_loses_nothing_and_is_even(case: tuple[int, int]) -> None:
    containers, count = case
    shares = split(range(count), containers)
    assert [item for share in shares for item in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert len(sizes) == containers
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert sizes[-1] >= 1
