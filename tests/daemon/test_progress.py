"""How far a container is: read of its node's file when somebody looks, and nothing of it that is no such thing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.daemon.progress import ProgressRoad
from gateway.errors import SiteError
from gateway.jobs.service import JobService
from tests.daemon.world import ALICE, World

BEGUN = "2026-11-24T06:00:01.000Z"


def _service(world: World, trouble: str | None = None) -> JobService:
    road = ProgressRoad({"dev": world.site})
    return JobService(
        *(world.database, None, None, lambda _: None),  # type: ignore[arg-type]
        trouble=lambda _: trouble,
        progress=road,
    )


def _at(world: World, phase: str, containers: int = 1) -> int:
    number, _ = world.submit(containers)
    for row in world.containers(number):
        world.change(row, phase=phase)
    return number


def _tell(world: World, number: int, index: int = 0, **fields: Any) -> None:
    status = {
        "version": 1, "phase": "stage-in", "slurm_job_id": "77", "host": "n1", "times": {"stage-in": [BEGUN, None]},
        "bytes_done": 500, "bytes_total": 1000, "bytes_per_second": 50,
    } | fields  # fmt: skip
    (world.folder(number, index) / "status.json").write_text(json.dumps(status))


def test_a_container_says_how_far_its_transfer_is_and_when_its_phases_began(world: World) -> None:
    number = _at(world, "stage-in", 2)
    _tell(world, number, 1)
    first, second = _service(world).containers(ALICE, number)
    assert (first.progress, first.times) == (None, {})
    assert second.progress is not None
    assert second.progress.model_dump() == {
        "bytes_done": 500,
        "bytes_total": 1000,
        "bytes_per_second": 50,
    }
    assert second.times == {"stage-in": [BEGUN, None]}
    assert _service(world).container(ALICE, number, 1) == second


def test_a_container_that_runs_has_times_and_no_progress(world: World) -> None:
    number = _at(world, "run")
    times = {"stage-in": [BEGUN, "2026-11-24T06:00:02.000Z"], "run": [BEGUN, None]}
    _tell(world, number, phase="run", times=times, bytes_done=0, bytes_total=0, bytes_per_second=0)
    (found,) = _service(world).containers(ALICE, number)
    assert (found.progress, found.times) == (None, times)


@pytest.mark.parametrize(
    "fields",
    [
        {"bytes_done": -1},
        {"bytes_total": "many"},
        {"bytes_total": 1 << 80},
        {"bytes_per_second": 1e400},
        {"times": {"stage-in": ["\x1b[31m", None]}},
        {"times": {"lunch": [BEGUN, None]}},
        {"times": [1]},
        {"phase": "run"},
    ],
    ids=str,
)
def test_what_is_no_status_of_this_phase_is_not_shown(world: World, fields: dict[str, Any]) -> None:
    number = _at(world, "stage-in")
    _tell(world, number, **fields)
    (found,) = _service(world).containers(ALICE, number)
    assert (found.progress, found.times) == (None, {})


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_not_shown(world: World, data: bytes) -> None:
    number = _at(world, "stage-in")
    (world.folder(number) / "status.json").write_bytes(data)
    (found,) = _service(world).containers(ALICE, number)
    assert found.progress is None


def test_only_so_many_files_are_read_for_one_answer_and_none_of_a_site_in_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _at(world, "stage-in", 120)
    read: list[str] = []

    def away(path: str, *_: int) -> bytes | None:
        read.append(path)
        raise SiteError("away")

    monkeypatch.setattr(world.site.hands, "read_file", lambda path, *_: read.append(path))
    assert len(_service(world).containers(ALICE, number)) == 120
    assert len(read) == 100
    assert len(_service(world, "squeue: away").containers(ALICE, number)) == 120
    assert len(read) == 100
    monkeypatch.setattr(world.site.hands, "read_file", away)
    assert len(_service(world).containers(ALICE, number)) == 120
    assert len(read) == 101


def test_a_job_of_a_site_that_is_not_configured_any_more_is_shown_without(world: World) -> None:
    number = _at(world, "stage-in")
    road = ProgressRoad({})
    (found,) = _service(world).containers(ALICE, number)
    assert not road("dev", number, found)
