"""What Slurm says now is asked for when somebody wants to know, once for many, and nobody waits long for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import wire
from gateway.daemon.outlook import Looker, expected_start, look
from gateway.errors import GatewayError, SiteError
from gateway.jobs.sites import Sites
from gateway.slurm.protocol import Partition, SubmitLaterError
from tests.daemon.world import ALICE, World


@pytest.fixture
def looker(world: World) -> Looker:
    return Looker(world.site, world.clock)


def _looked(looker: Looker) -> wire.SlurmNow:
    """What is known after a look that nobody waits for."""
    looker.want()
    looker.tick()
    return looker.now()


def test_partitions_are_as_slurm_has_them(looker: Looker) -> None:
    found = _looked(looker)
    assert found.partitions == [
        wire.SlurmPartition(
            name="regular", state="UP", default=True, max_runtime_min=2880, nodes=4,
            nodes_allocated=1, nodes_idle=2, nodes_other=1,
        )
    ]  # fmt: skip
    assert found.error is None
    assert found.asked is not None
    assert abs((datetime.now(UTC) - found.asked).total_seconds()) < 60


def test_slurm_is_asked_once_in_five_seconds_and_only_if_somebody_looks(
    world: World, looker: Looker
) -> None:
    looker.tick()
    assert world.slurm.calls["partitions"] == 0
    for _ in range(5):
        _looked(looker)
    assert world.slurm.calls["partitions"] == 1
    world.clock.forward(4)
    assert _looked(looker).age_seconds == 4
    world.clock.forward(2)
    assert _looked(looker).age_seconds == 0
    assert world.slurm.calls["partitions"] == 2


def test_one_that_does_not_answer_is_shown_as_it_was_with_the_reason(
    world: World, looker: Looker
) -> None:
    _looked(looker)
    world.slurm.away = {"partitions"}
    world.clock.forward(60)
    looker.want()
    with pytest.raises(SiteError):
        looker.tick()
    found = looker.now()
    assert (found.age_seconds, len(found.partitions)) == (60, 1)
    assert found.error == "partitions: Unable to contact slurm controller"
    looker.want()
    looker.tick()  # not again so soon
    assert world.slurm.calls["partitions"] == 2
    world.slurm.away = set()
    world.clock.forward(11)
    assert _looked(looker).error is None


def test_many_who_look_at_one_time_wait_for_one_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, go = threading.Event(), threading.Event()

    def slow() -> list[Partition]:
        world.slurm.calls["partitions"] += 1
        waiting.set()
        assert go.wait(10)
        return [Partition("regular", "UP", None, 1, True)]

    monkeypatch.setattr(world.slurm, "partitions", slow)
    looker = Looker(world.site)
    with ThreadPoolExecutor(5) as pool:
        looker.want()
        asked = [pool.submit(look, [looker]) for _ in range(4)]
        pool.submit(looker.tick)
        assert waiting.wait(10)
        go.set()
        found = [each.result()["dev"] for each in asked]
    assert [len(each.partitions) for each in found] == [1, 1, 1, 1]
    assert world.slurm.calls["partitions"] == 1


def test_nobody_waits_for_one_that_is_slow_beyond_some_seconds(
    world: World,
) -> None:
    looker = Looker(world.site, world.clock, 0.05)
    found = look([looker])["dev"]  # there is no loop that looks
    assert (found.asked, found.age_seconds, found.partitions) == (None, None, [])
    world.clock.forward(1)
    assert look([looker])["dev"].asked is None
    assert world.site.look_wake.is_set()


def test_users_see_the_partitions_that_jobs_go_to(world: World) -> None:
    found = [
        wire.SlurmPartition(
            name=name, state="UP", default=name == "main", max_runtime_min=None, nodes=1
        )
        for name in ("debug", "main", "secret")
    ]

    def names(**site: Any) -> list[str]:
        section = world.config.sites["dev"].model_copy(update=site)
        now = {"dev": wire.SlurmNow(partitions=found)}
        sites = Sites(world.database, {"dev": section}, lambda _: None, lambda _: None, lambda: now)
        shown = sites.listed(ALICE)[0].slurm
        assert shown is not None
        return [each.name for each in shown.partitions]

    assert names() == ["main"]
    assert names(partitions={"debug": 20}) == ["main", "debug"]
    assert names(partition="debug") == ["debug"]
    assert names(partition="debug", partitions={"gone": 0, "main": 0}) == ["debug", "main"]


def test_a_start_is_asked_for_with_the_script_that_the_job_would_have(world: World) -> None:
    world.slurm.start = datetime(2026, 11, 24, 13, tzinfo=UTC)
    job = world.job(world.add(3, partition="fast", cpus=2))
    assert expected_start(world.config, world.database, world.site, job) == world.slurm.start
    (script,) = world.slurm.shown
    assert "#SBATCH --partition=fast\n" in script
    assert "#SBATCH --array=0-2\n" in script
    assert list(Path(world.site.work).glob(".start-*")) == []
    assert world.slurm.jobs == {}


@pytest.mark.parametrize("command", ["limits", "expected_start"])
def test_a_site_that_is_away_has_no_start_and_leaves_no_file(world: World, command: str) -> None:
    world.slurm.away = {command}
    job = world.job(world.add())
    with pytest.raises((SiteError, GatewayError), match="Unable to contact slurm controller"):
        expected_start(world.config, world.database, world.site, job)
    assert list(Path(world.site.work).glob(".start-*")) == []


def test_a_site_whose_template_is_wrong_is_one_that_does_not_answer(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    (tmp_path / "bad.sbatch.j2").write_text("#!/bin/sh\n{{ v.nothing }}\n")
    world = make_world(template=str(tmp_path / "bad.sbatch.j2"))
    job = world.job(world.add())
    with pytest.raises(SiteError, match="its batch script cannot be made: template"):
        expected_start(world.config, world.database, world.site, job)


def test_where_others_wait_in_the_gateway_for_room_there_is_no_start(world: World) -> None:
    world.slurm.start = datetime(2026, 11, 24, 13, tzinfo=UTC)
    world.slurm.answers = [SubmitLaterError("sbatch: QOSMaxSubmitJobPerUserLimit")]
    waiting = world.add()
    world.submitter.tick()
    job = world.job(world.add())

    def ask() -> datetime | None:
        return expected_start(world.config, world.database, world.site, job)

    assert ask() == world.slurm.start  # it may be on its way
    row = world.submissions(waiting)[0]
    world.change(row, created=row.created - timedelta(seconds=40))
    with pytest.raises(SubmitLaterError, match="jobs wait in the gateway for room there: 1"):
        ask()
    world.cancel(waiting)
    assert ask() == world.slurm.start
