"""Sharing files out among containers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.split import misfit, split


@pytest.mark.parametrize(
    ("files", "containers", "sizes"),
    [(3, 1, [3]), (3, 3, [1, 1, 1]), (5, 2, [3, 2]), (7, 3, [3, 2, 2]), (8, 3, [3, 3, 2])],
)
def test_the_first_containers_get_one_file_more(
    files: int, containers: int, sizes: list[int]
) -> None:
    assert [len(share) for share in split(files, containers)] == sizes


def test_points_are_the_first_file_of_each_container_but_the_first() -> None:
    assert split(8, 3, [1, 7]) == (range(1), range(1, 7), range(7, 8))


@pytest.mark.parametrize(("files", "containers"), [(0, 1), (1, 2), (1, 0), (1, -1)])
def test_no_container_may_be_left_without_files(files: int, containers: int) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split(files, containers)


@pytest.mark.parametrize(
    ("containers", "points", "field", "said"),
    [
        (9, None, "num_containers", "ask for at most 8"),
        (9, [], "num_containers", "ask for at most 8"),
        (3, [1], "split_points", "containers less one, 2, not 1; for these, ask for num_containers 2"),
        (3, [], "split_points", "containers less one, 2, not 0"),
        (1, [4], "split_points", "num_containers 2"),
        (3, [2, 2], "split_points", "2 rising indexes of 1 to 7"),
        (3, [2, 1], "split_points", "2 rising indexes of 1 to 7"),
        (2, [0], "split_points", "1 rising indexes of 1 to 7"),
        (2, [8], "split_points", "1 rising indexes of 1 to 7"),
        (2, [-1], "split_points", "1 rising indexes of 1 to 7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_the_field_and_the_rule(
    containers: int, points: list[int] | None, field: str, said: str
) -> None:
    found = misfit(8, containers, points)
    assert found is not None
    assert found[0] == field
    assert said in found[1]


@given(st.integers(1, 400).flatmap(lambda c: st.tuples(st.just(c), st.integers(c, 2000))))
def test_splitting_keeps_the_order_loses_nothing_and_is_even(case: tuple[int, int]) -> None:
    containers, count = case
    shares = split(count, containers)
    assert [item for share in shares for item in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert len(sizes) == containers
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert sizes[-1] >= 1


@given(st.integers(1, 60), st.lists(st.integers(-2, 62), max_size=8), st.integers(1, 9))
def test_whatever_points_fit_keep_the_order_lose_nothing_and_leave_none_empty(
    count: int, points: list[int], containers: int
) -> None:
    if misfit(count, containers, points) is not None:
        return
    shares = split(count, containers, points)
    assert [item for share in shares for item in share] == list(range(count))
    assert [share[0] for share in shares] == [0, *points]
    assert all(len(share) > 0 for share in shares)
    assert len(shares) == containers
