"""In which parts a file is uploaded: the node and the daemon reckon the same, and S3 takes it."""

from __future__ import annotations

import pytest

from gateway.agent import parts as node
from gateway.s3 import parts as daemon

MIB = 1 << 20
TIB = 1 << 40
EDGES = sorted(
    {0, 1, 5 * MIB, 64 * MIB, 5 << 30, 48_828_125 * 1024, TIB, 5 * TIB}
    | {10_000 * part * MIB + more for part in (5, 6, 64, 65, 524, 525) for more in (-1, 0, 1, MIB)}
)


@pytest.mark.parametrize("usual", [5 * MIB, 5 * MIB + 1, 64 * MIB, 5 << 30])
def test_any_size_up_to_5_tib_is_at_most_10_000_parts_that_s3_takes(usual: int) -> None:
    for size in [size for size in EDGES if size <= 5 * TIB]:
        part = node.part_size_for(size, usual)
        assert part == daemon.part_size_for(size, usual)
        assert 5 * MIB <= part <= 5 << 30
        assert -(-size // part) <= 10_000
        assert part == usual or (part % MIB == 0 and -(-size // (part - MIB)) > 10_000)


def test_the_usual_is_taken_as_long_as_it_does() -> None:
    assert node.part_size_for(10_000 * 64 * MIB, 64 * MIB) == 64 * MIB
    assert node.part_size_for(10_000 * 64 * MIB + 1, 64 * MIB) == 65 * MIB
    assert node.part_size_for(5 * TIB, 64 * MIB) == 525 * MIB


def test_parts_are_cut_one_after_the_other_to_the_last_byte() -> None:
    assert node.cut(11, 5) == [5, 5, 1]
    assert node.cut(10, 5) == [5, 5]
    whole = node.cut(5 * TIB, 64 * MIB)
    assert (sum(whole), len(whole), len(set(whole))) == (5 * TIB, 9_987, 2)


def test_both_know_the_same_limits() -> None:
    assert (node.MOST_PARTS, node.MOST_BYTES) == (daemon.MOST_PARTS, daemon.MOST_BYTES)
