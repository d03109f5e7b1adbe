"""A disk that is full: room is kept for what must be said, and nothing is kept by halves."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.agent import batch, files, mailbox, report, steps
from gateway.agent.files import StepResult, read_step
from gateway.agent.mailbox import NoAnswer, Stop
from gateway.agent.place import Place
from gateway.agent.report import Report
from tests.agent.conftest import Site
from tests.agent.site import SLURM

Writer = Callable[[Path, Mapping[str, object]], None]
WRITE = files.write_json
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def _while(full: Callable[[], bool]) -> Writer:
    """What writes JSON as ever, but not while the disk is full."""

    def write(path: Path, document: Mapping[str, object]) -> None:
        if full():
            raise NO_ROOM
        WRITE(path, document)

    return write


def test_a_step_says_how_it_ended_in_the_room_that_it_has_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site.place()
    place.begin("run")
    begun = place.begun_file("run")
    assert begun.stat().st_size >= 16 << 10
    assert place.begun("run") == [True]
    monkeypatch.setattr(files, "write_json", _while(lambda: begun.stat().st_size > 0))
    steps._write(place, "run", StepResult("container-failed", 1, disk_full=True))
    assert read_step(place.step_file("run")) == StepResult("container-failed", 1, disk_full=True)
    assert place.begun("run") == [True]


def test_one_that_cannot_say_it_at_all_is_told_by_the_batch_process(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = site.place()
    place.begin("run")
    monkeypatch.setattr(files, "write_json", _while(lambda: True))
    steps._write(place, "run", StepResult("container-failed", 1))
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(batch, "is_full", lambda _: True)
    found = batch._outcome_of("run", 1, place, Stop(), 0)
    assert found.outcome == "container-failed"
    assert found.error == "run ended without a result (exit code 1): the disk of the job's directory is full"  # fmt: skip


def test_the_result_takes_the_room_of_the_inputs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site.place()
    (place.inputs / "a").write_bytes(b"x" * 100)
    (place.outputs / "b").write_bytes(b"y")
    telling = Report(site.base, SLURM, 0)
    telling.place = place
    monkeypatch.setattr(report, "write_json", _while(place.inputs.exists))
    monkeypatch.setattr("gateway.agent.report.time.sleep", lambda _: None)
    telling.finish(StepResult("stage-out-failed", 0, error="no room"))
    assert json.loads((site.base / "result.json").read_text())["error"] == "no room"
    assert (place.outputs / "b").read_bytes() == b"y"


@pytest.fixture
def on_a_node(site: Site) -> Place:
    """A container that has written two files on its node."""
    local = site.work / "local"
    local.mkdir()
    place = Place(site.job(scratch=str(local)), 0, SLURM)
    place.clean_start()
    for name in ("a", "b"):
        (place.outputs / name).write_text(name)
    return place


def _finished(site: Site, place: Place) -> dict[str, Any]:
    telling = Report(site.base, SLURM, 0)
    telling.place = place
    telling.finish(StepResult("stage-out-failed", 0, error="S3 is away"))
    found: dict[str, Any] = json.loads((site.base / "result.json").read_text())
    return found


def test_outputs_that_the_work_directory_has_no_room_for_stay_on_their_node_and_it_is_said_where(
    site: Site, on_a_node: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def copied(source: Path, target: Path, **more: bool) -> object:
        if source.name == "b":
            raise NO_ROOM
        return real(source, target, **more)

    monkeypatch.setattr(shutil, "copyfile", copied)
    said = _finished(site, on_a_node)["error"]
    assert said == f"S3 is away; its outputs stay on n1, in {on_a_node.outputs}: No space left on device"  # fmt: skip
    # Half of them would be uploaded as if they were all.
    assert not (site.base / "out").exists()
    assert not (site.base / ".out-part").exists()
    assert sorted(os.listdir(on_a_node.outputs)) == ["a", "b"]


def test_those_that_it_has_room_for_are_all_there_and_none_is_left_on_the_node(
    site: Site, on_a_node: Place
) -> None:
    assert _finished(site, on_a_node)["error"] == "S3 is away"
    assert sorted(os.listdir(site.base / "out")) == ["a", "b"]
    assert not on_a_node.work.exists()


def test_a_request_that_cannot_be_written_is_written_when_there_is_room(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True, True])
    monkeypatch.setattr(mailbox, "write_json", _while(lambda: next(fails, False)))
    site.place()
    answer = site.mailbox("stage-in").ask("stage-in", Stop(lambda _: None), inputs=[])
    assert answer.each("inputs") == []
    assert len(site.daemon.of("stage-in")) == 1


def test_one_that_cannot_be_written_for_long_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "write_json", _while(lambda: True))
    monkeypatch.setattr(mailbox, "FULL_SECONDS", -1.0)
    site.place()
    with pytest.raises(NoAnswer, match="the gateway cannot be asked: No space left on device"):
        site.mailbox("stage-in").ask("stage-in", Stop(lambda _: None), inputs=[])


def test_a_file_system_that_is_read_only_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(mailbox, "write_json", refused)
    site.place()
    with pytest.raises(OSError, match="Read-only"):
        site.mailbox("stage-in").ask("stage-in", Stop(lambda _: None), inputs=[])
