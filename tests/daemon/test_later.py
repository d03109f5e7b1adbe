"""Putting off: what failed rests, and one failing thing starves no other."""

from __future__ import annotations

from gateway.daemon.later import Later
from tests.daemon.fakes import Clock


def test_what_failed_rests_for_its_seconds() -> None:
    clock = Clock()
    later = Later(5, 10, clock)
    later.failed("a")
    later.new_round()
    assert not later.may("a")
    assert later.may("b")
    clock.forward(5)
    later.new_round()
    assert later.may("a")


def test_a_round_is_over_after_its_failures_and_the_next_tries_the_others_first() -> None:
    clock = Clock()
    later = Later(5, 2, clock)
    tried = []
    for _ in range(3):
        later.new_round()
        for key in "abcdef":
            if later.may(key):
                tried.append(key)
                later.failed(key)
        assert later.over
    assert tried == list("abcdef")


def test_what_always_fails_leaves_the_others_their_turn() -> None:
    clock = Clock()
    later = Later(5, 1, clock)
    worked: set[str] = set()
    for _ in range(10):
        later.new_round()
        for key in ("bad", "worse", "good", "better"):
            if later.may(key):
                if key in ("bad", "worse"):
                    later.failed(key)
                else:
                    worked.add(key)
        clock.forward(1)
    assert worked == {"good", "better"}
