"""Cleaning: when the files of a job go, which stay, and that one bad directory holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.store import jobs as store
from tests.daemon.world import World

KEPT = {"result.json", "stdout", "stderr"}


def _filled(world: World, phase: str, containers: int = 2) -> int:
    """A job in that phase, with all that a run leaves in its directory."""
    number = world.add(containers, phase=phase)
    top = Path(world.site.job_dir(number))
    for index in range(containers):
        for name in ("in", "out", "tmp", "grants"):
            (top / str(index) / name).mkdir(parents=True)
            (top / str(index) / name / "file").write_text("x")
        for name in (*KEPT, "container.json"):
            (top / str(index) / name).write_text("x")
    for name in ("job.json", "submit-0.sbatch", "slurm-0-0.log", "claim-0"):
        (top / name).write_text("x")
    return number


def _names(world: World, number: int) -> set[str]:
    return {path.name for path in Path(world.site.job_dir(number)).rglob("*") if path.is_file()}


@pytest.mark.parametrize("phase", ["complete", "canceled"])
def test_a_job_that_is_complete_or_canceled_is_cleaned_at_once_but_for_its_logs(
    world: World, phase: str
) -> None:
    number = _filled(world, phase)
    world.cleaner.tick()
    assert _names(world, number) == KEPT | {
        "submit-0.sbatch",
        "slurm-0-0.log",
        "claim-0",
    }
    for index in range(2):
        assert {path.name for path in world.folder(number, index).iterdir()} == KEPT
    assert world.job(number).cleaned


def test_a_job_that_failed_keeps_its_files_for_the_days_of_the_configuration(world: World) -> None:
    number = _filled(world, "error")
    before = _names(world, number)
    world.age(number, days=13.9)
    world.cleaner.tick()
    assert _names(world, number) == before
    world.age(number, days=14.1)
    world.cleaner.tick()
    assert "job.json" not in _names(world, number)
    assert _names(world, number) >= KEPT


def test_a_job_that_goes_on_is_not_touched(world: World) -> None:
    number = _filled(world, "run")
    world.age(number, days=100)
    before = _names(world, number)
    assert world.cleaner.tick() == 30
    assert _names(world, number) == before


def test_nothing_is_cleaned_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _filled(world, "complete")
    world.cleaner.tick()

    def never(paths: Sequence[str]) -> None:
        raise AssertionError(paths)

    monkeypatch.setattr(world.site.hands, "remove", never)
    world.cleaner.tick()


def test_directories_that_cannot_be_removed_hold_up_no_other_however_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_UNCLEANED", 4)  # in one look
    bad = [world.add(phase="complete") for _ in range(6)]
    good = _filled(world, "complete")
    remove = world.site.hands.remove

    def failing(paths: Sequence[str]) -> None:
        if not paths[0].startswith(f"{world.site.job_dir(good)}/"):
            raise SiteError("cannot remove it: Device or resource busy")
        remove(paths)

    monkeypatch.setattr(world.site.hands, "remove", failing)
    assert world.cleaner.tick() == 0.0
    assert world.cleaner.tick() == 30
    assert world.job(good).cleaned
    assert not world.job(bad[0]).cleaned
    monkeypatch.setattr(world.site.hands, "remove", remove)
    world.cleaner.tick()
    world.cleaner.tick()
    assert all(world.job(number).cleaned for number in bad)


def test_a_mistake_over_one_job_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = _filled(world, "complete"), _filled(world, "complete")
    folder = world.site.container_dir

    def mistaken(number: int, index: int) -> str:
        if number == bad:
            raise RuntimeError("out of order")
        return folder(number, index)

    monkeypatch.setattr(world.site, "container_dir", mistaken)
    world.cleaner.tick()
    assert world.job(good).cleaned
