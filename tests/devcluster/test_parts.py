"""A part's life: launched, ready, complete, stopped; and what is left of one that was broken off."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from devclusterlib import parts as module
from devclusterlib.parts import Part
from devclusterlib.settings import ClusterError

Make = Callable[..., Part]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make parts whose files are in a temporary directory; they are gone afterwards."""
    monkeypatch.setattr(module, "RUN", tmp_path)
    monkeypatch.setattr(module, "LOGS", tmp_path / "log")
    made: list[Part] = []

    def one(script: str = "exec sleep 60", **more: object) -> Part:
        ready = more.pop("ready", lambda: True)
        part = Part("part", ["sh", "-c", script], ready, **more)  # type: ignore[arg-type]
        made.append(part)
        return part

    yield one
    for part in made:
        part.stop(signal.SIGKILL)


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_part_that_runs_is_left_alone_by_another_start(make: Make) -> None:
    part = make()
    part.start()
    first = part.pid()
    assert first is not None
    assert part.start() == 0.0
    assert part.pid() == first
    assert part.state() == "up"


def test_one_late_answer_is_no_reason_to_start_a_part_again(make: Make) -> None:
    answers = [True]
    part = make(ready=lambda: answers.pop() if answers else True)
    part.start()
    first = part.pid()
    answers[:] = [True, False, False]
    part.start()
    assert part.pid() == first


def test_a_part_that_ends_at_once_is_told_with_its_last_words(make: Make) -> None:
    part = make("echo no such file >&2; exit 3", ready=lambda: False)
    with pytest.raises(ClusterError, match="part ended with code 3: no such file"):
        part.start()


def test_a_part_that_never_answers_is_told_after_its_time(make: Make) -> None:
    part = make("echo starting; exec sleep 60", ready=lambda: False, seconds=0.3)
    with pytest.raises(ClusterError, match=r"not ready in 0 s: starting"):
        part.start()


def test_what_was_broken_off_before_the_last_step_of_a_start_is_finished_by_the_next(
    make: Make,
) -> None:
    done: list[str] = []

    def broken() -> None:
        raise KeyboardInterrupt

    part = make(after=broken)
    with pytest.raises(KeyboardInterrupt):
        part.start()
    first = part.pid()
    again = make(after=lambda: done.append("after"))
    again.start()
    again.start()
    assert again.pid() == first
    assert done == ["after"]


def test_a_part_that_refuses_at_first_is_tried_again_with_its_preparation(
    make: Make, tmp_path: Path
) -> None:
    prepared: list[int] = []
    script = f"test -e {tmp_path}/second && exec sleep 60; touch {tmp_path}/second; exit 1"
    part = make(
        script,
        prepare=lambda: prepared.append(1),
        ready=lambda: (tmp_path / "second").exists() and len(prepared) == 2,
        tries=3,
    )
    part.start()
    assert part.pid() is not None
    assert len(prepared) == 2


def test_another_process_with_the_number_of_one_that_ended_is_not_the_part(
    make: Make, tmp_path: Path
) -> None:
    part = make()
    (tmp_path / "part.pid").write_text(f"{os.getpid()} 1\n")
    assert part.pid() is None
    assert part.state() == "down"
    assert part.stop() is False


def test_a_part_that_is_halted_is_stopped_all_the_same(make: Make) -> None:
    part = make()
    part.start()
    part.kill(signal.SIGSTOP)
    assert part.pid() is not None
    assert part.stop(patience=5)
    assert part.pid() is None


def test_a_part_that_ignores_the_signal_is_killed_after_a_while(make: Make) -> None:
    part = make("trap '' TERM; while :; do sleep 0.1; done")
    part.start()
    _until(lambda: b"sleep" in _children(part))
    part.stop(patience=0.3)
    assert part.pid() is None


def _children(part: Part) -> bytes:
    number = part.pid()
    names = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    return b"".join(Path(f"/proc/{n}/cmdline").read_bytes() for n in names)


def test_killing_what_does_not_run_is_an_error(make: Make) -> None:
    with pytest.raises(ClusterError, match="part does not run"):
        make().kill(signal.SIGTERM)
