"""What the agent writes of its transfers while they go on."""

from __future__ import annotations

import json

import pytest

from gateway.agent import steps
from gateway.agent.files import write_json
from tests.agent.site import Site


def test_bytes_and_their_rate_are_written_every_two_seconds_beside_what_is_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site.place()
    file = place.base / "status.json"
    write_json(file, {"phase": "stage-in", "bytes_done": 0, "bytes_total": 0})
    now = [100.0]
    monkeypatch.setattr("gateway.agent.steps.time.monotonic", lambda: now[0])
    progress = steps.Progress(place, 10_000)
    seen = []
    for seconds, count in ((1.5, 3000), (1.0, 1000), (1.9, 2000), (2.1, 2000)):
        now[0] += seconds
        progress.add(count)
        seen.append(json.loads(file.read_bytes()))
    assert [each["bytes_done"] for each in seen] == [0, 4000, 4000, 8000]
    assert [each.get("bytes_per_second") for each in seen] == [None, 1600, 1600, 1000]
    assert seen[-1] == {
        "phase": "stage-in",
        "bytes_done": 8000,
        "bytes_total": 10_000,
        "bytes_per_second": 1000,
    }


def test_a_status_that_is_gone_or_is_nonsense_stops_no_transfer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_PROGRESS_SECONDS", 0.0)
    place = site.place()
    progress = steps.Progress(place, 10)
    progress.add(1)
    (place.base / "status.json").write_text("{")
    progress.add(1)
    assert progress.done == 2
