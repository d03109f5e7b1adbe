"""Ceph's S3: where the objects are, and when they are made anew."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from devclusterlib import storage
from devclusterlib.options import parser
from devclusterlib.settings import OSD_STORES, Settings
from devclusterlib.up import osd_store

from tests.conftest import DevCluster

Run = Callable[[Settings], Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What a run of a site has left of its Ceph, which another run then finds."""
    ceph, runs = tmp_path / "ceph", tmp_path / "run"
    monkeypatch.setattr(storage, "CEPH", ceph)
    monkeypatch.setattr(storage, "RUN", runs)

    def begin(settings: Settings) -> Path:
        ceph.mkdir()
        text = storage._configuration(settings, uuid.uuid4())
        (ceph / "ceph.conf").write_text(text)
        runs.mkdir()
        return ceph / "ceph.conf"

    return begin


def _in_a_file(settings: Settings) -> Settings:
    return replace(settings, osd_store="file", osd_bytes=OSD_STORES["file"])


def test_objects_in_a_file_are_there_in_the_next_run_of_the_site_those_in_memory_are_not(
    settings: Settings, run: Run
) -> None:
    there = run(_in_a_file(settings))
    storage.forget_lost(_in_a_file(settings))
    assert there.exists()
    storage.forget_lost(settings)
    assert not there.exists()


def test_objects_in_memory_are_made_anew_in_the_next_run_of_the_site_and_kept_in_this(
    settings: Settings, run: Run
) -> None:
    there = run(settings)
    text = there.read_text()
    storage.forget_lost(settings)
    assert not there.exists()
    there.parent.mkdir()
    there.write_text(text)
    storage.forget_lost(settings)
    assert there.exists()


def test_a_file_of_other_settings_is_made_anew(settings: Settings, run: Run) -> None:
    there = run(_in_a_file(settings))
    storage.forget_lost(replace(_in_a_file(settings), base_port=settings.base_port + 100))
    assert not there.exists()


def test_objects_are_where_the_option_says_or_as_last_time_or_in_memory(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def given(*words: str) -> argparse.Namespace:
        return parser().parse_args(["up", *words])

    assert osd_store(given().osd_store, None) == "memory"
    assert osd_store(given("--osd-store", "file").osd_store, settings) == "file"
    assert osd_store(given().osd_store, _in_a_file(settings)) == "file"
    assert osd_store(given("--osd-store", "memory").osd_store, _in_a_file(settings)) == "memory"
    with pytest.raises(SystemExit):
        given("--osd-store", "tape")
    assert "invalid choice: 'tape'" in capsys.readouterr().err


@pytest.mark.cluster
def test_ceph_makes_an_osd_whose_objects_are_in_a_file(site: DevCluster) -> None:
    folder = f"/var/lib/osd-{uuid.uuid4().hex}"
    facts = json.loads(site.tool("env").stdout)
    settings = Settings.load(Path(facts["directory"], "settings.json"))
    assert settings is not None
    text = storage._configuration(_in_a_file(settings), uuid.uuid4())
    make = (
        'set -e; mkdir "$1"; cat > "$1/conf"; ceph-osd --no-mon-config --conf "$1/conf" -i 9 --osd-data "$1" --mkfs '
        '--osd-uuid "$2" --setuser root --setgroup root 2>&1; cat "$1/type"; stat -c "%s %b" "$1/block"'
    )
    try:
        done = site.run("sh", "-c", make, "sh", folder, str(uuid.uuid4()), user="root", text=text)
    finally:
        site.run("rm", "-rf", folder, user="root")
    *said, kind, numbers = done.stdout.splitlines()
    size, blocks = map(int, numbers.split())
    assert kind == "bluestore"
    assert size == OSD_STORES["file"]
    assert blocks * 512 < 1 << 30  # it takes what is in it
    assert not [line for line in said if "unable to initialize" in line], said  # what compresses
