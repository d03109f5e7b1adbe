"""Loops: an error slows one down and is told; nothing ends it but its stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.daemon.loops import Loop, one_job
from gateway.errors import AppCode, GatewayError, SiteError, StoreError
from gateway.s3.client import S3UnavailableError


class Waker(threading.Event):
    """An event that waits no time at all, and notes how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return True


def _run(ticks: list[Callable[[], float]]) -> tuple[Loop, list[float], list[str | None]]:
    """Run a loop over those ticks; returns it, its waits, and its last error after each tick."""
    stop, wake, left = threading.Event(), Waker(), list(ticks)
    errors: list[str | None] = []
    loop: Loop

    def tick() -> float:
        if len(left) < len(ticks):
            errors.append(loop.last_error)
        if not left:
            stop.set()
            return 0.0
        return left.pop(0)()

    loop = Loop("test", tick, wake, stop)
    loop.start()
    loop.join(10)
    return loop, wake.waits[: len(ticks)], errors


def _raises(error: Exception) -> Callable[[], float]:
    def tick() -> float:
        raise error

    return tick


def test_a_tick_says_how_long_the_loop_waits() -> None:
    loop, waits, _ = _run([lambda: 3.0, lambda: 0.5])
    assert waits == [3.0, 0.5]
    assert loop.last_success is not None


@pytest.mark.parametrize(
    "error",
    [
        SiteError("squeue: away"),
        StoreError("the database is locked"),
        GatewayError(AppCode.UNSUPPORTED, "no"),
        KeyError("a bug"),
    ],
)
def test_an_error_is_told_until_a_tick_works_again_and_ends_no_loop(error: Exception) -> None:
    _, _, errors = _run([_raises(error), lambda: 1.0])
    assert str(error) in (errors[0] or "")
    assert errors[1] is None


def test_a_loop_that_fails_again_and_again_waits_longer_each_time_to_a_bound() -> None:
    _, waits, _ = _run([_raises(SiteError("away"))] * 8 + [lambda: 1.0, _raises(SiteError("away"))])
    assert all(0.8 * 2**n <= wait * 1.0 <= 1.2 * 2**n for n, wait in enumerate(waits[:4]))
    assert all(12 <= wait <= 18 for wait in waits[5:8])
    assert waits[9] <= 1.2


def test_a_mistake_over_one_job_is_told_in_one_line_and_goes_no_further() -> None:
    said: list[str] = []
    with one_job(7, "submitting it", said.append):
        raise ValueError("two\nlines " + "x" * 1000)
    assert len(said) == 1
    assert said[0].startswith(
        "submitting it failed and is tried again; tell the gateway's admins: "
    )
    assert "ValueError: two lines" in said[0]
    assert "\n" not in said[0]
    assert len(said[0]) < 450


@pytest.mark.parametrize(
    "error", [SiteError("x"), StoreError("x"), S3UnavailableError("x"), KeyboardInterrupt()]
)
def test_what_is_the_matter_with_the_site_the_store_or_the_database_is_none_of_a_jobs(
    error: Any,
) -> None:
    with pytest.raises(type(error)), one_job(7, "submitting it"):
        raise error
