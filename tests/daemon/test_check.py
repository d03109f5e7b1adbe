"""Checking: each part that fails alone is its own line, with what is wrong, and the others are tried all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ImagesSection
from gateway.daemon.check import Parts, check, check_alone
from gateway.errors import ConfigError, SiteError
from gateway.images.crane import Crane
from gateway.s3.reach import Reach
from gateway.store.db import Database
from gateway.wire import ReadyLine
from tests.daemon.world import World

NAMES = ["database", "s3", "crane", "registry logins", "site dev: slurm", "site dev: work directory", "site dev: template"]  # fmt: skip


@pytest.fixture
def crane(tmp_path: Path) -> Crane:
    """A crane that says its version."""
    program = tmp_path / "crane"
    program.write_text("#!/bin/sh\necho 0.20.2\n")
    program.chmod(0o755)
    return Crane(ImagesSection(crane=str(program)))


Look = Callable[..., dict[str, ReadyLine]]


@pytest.fixture
def look(world: World, crane: Crane) -> Look:
    """Check the world with some parts other than they are."""

    def looking(**parts: Any) -> dict[str, ReadyLine]:
        fields: dict[str, Any] = {
            "database": lambda: world.database,
            "stores": {"": lambda: world.store.store("")},
            "crane": crane,
            "sites": {"dev": lambda: world.site},
        }
        config = parts.pop("config", world.config)
        return {line.name: line for line in check(config, Parts(**fields | parts))}

    return looking


def _failed(lines: dict[str, ReadyLine]) -> list[str]:
    assert list(lines) == NAMES
    return [name for name, line in lines.items() if not line.ok]


def _raise(error: Exception) -> Any:
    raise error


def test_when_all_is_well_each_line_says_what_was_seen(look: Look) -> None:
    lines = look()
    assert _failed(lines) == []
    assert "schema" in lines["database"].detail
    assert "buckets listed" in lines["s3"].detail
    assert lines["crane"].detail.startswith("0.20.2")
    assert lines["site dev: slurm"].detail.startswith("Slurm 24.11.1")
    assert "generic.sbatch.j2" in lines["site dev: template"].detail
    assert all(line.detail.endswith(" ms)") for line in lines.values())


def test_a_database_that_is_not_there_is_one_line(look: Look, tmp_path: Path) -> None:
    lines = look(database=lambda: Database(f"sqlite:///{tmp_path}/none.db"))
    assert _failed(lines) == ["database"]
    assert "ctsd migrate" in lines["database"].detail


def test_a_store_that_is_away_is_one_line(look: Look, world: World) -> None:
    gone = world.config.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:1"})
    lines = look(stores={"": lambda: Reach(gone, connect_timeout=0.1)})
    assert _failed(lines) == ["s3"]
    assert "cannot be reached" in lines["s3"].detail


def test_credentials_that_are_missing_are_one_line(look: Look) -> None:
    error = ConfigError("s3.credentials_file: cannot read /none: No such file or directory")
    lines = look(stores={"": lambda: _raise(error)})
    assert _failed(lines) == ["s3"]
    assert lines["s3"].detail.startswith("s3.credentials_file: cannot read /none")


def test_a_crane_that_is_not_there_is_one_line(look: Look) -> None:
    lines = look(crane=Crane(ImagesSection(crane="/none/crane")))
    assert _failed(lines) == ["crane"]
    assert "/none/crane" in lines["crane"].detail


def test_a_slurm_that_does_not_answer_is_one_line(look: Look, world: World) -> None:
    world.slurm.away = {"limits"}
    lines = look()
    assert _failed(lines) == ["site dev: slurm"]
    assert "Unable to contact slurm controller" in lines["site dev: slurm"].detail


def test_slurm_is_asked_anew_at_each_check(look: Look, world: World) -> None:
    look()
    look()
    assert world.slurm.calls["limits"] == 2


def test_a_work_directory_that_cannot_be_written_is_one_line(
    look: Look, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = SiteError("cannot write it: Read-only file system")
    monkeypatch.setattr(world.site.hands, "write_files", lambda files: _raise(error))
    lines = look()
    assert _failed(lines) == ["site dev: work directory"]
    assert "Read-only file system" in lines["site dev: work directory"].detail


def test_nothing_is_left_in_the_work_directory(look: Look, world: World) -> None:
    before = sorted(Path(world.site.work).iterdir())
    look()
    assert sorted(Path(world.site.work).iterdir()) == before


def test_a_site_that_cannot_be_set_up_fails_in_its_own_lines_alone(look: Look) -> None:
    lines = look(sites={"dev": lambda: _raise(SiteError("cannot use the work directory"))})
    assert _failed(lines) == ["site dev: slurm", "site dev: work directory"]


def _with(world: World, **site: Any) -> Any:
    changed = world.config.sites["dev"].model_copy(update=site)
    return world.config.model_copy(update={"sites": {"dev": changed}})


def test_a_template_that_is_not_there_is_one_line(look: Look, world: World) -> None:
    lines = look(config=_with(world, template="perlmuter"))
    assert _failed(lines) == ["site dev: template"]
    assert "'perlmuter' is not there; known: generic" in lines["site dev: template"].detail


def test_a_template_that_would_fail_at_a_submission_is_one_line(
    look: Look, world: World, tmp_path: Path
) -> None:
    template = tmp_path / "own.sbatch.j2"
    template.write_text("#!/bin/sh\n{{ v.hosts }}\n")
    lines = look(config=_with(world, template=str(template)))
    assert _failed(lines) == ["site dev: template"]
    assert "line 2" in lines["site dev: template"].detail


def test_alone_beside_a_daemon_that_runs_its_work_directory_is_tried_all_the_same(
    world: World,
) -> None:
    lines = {line.name: line for line in check_alone(world.config)}
    assert lines["site dev: work directory"].ok
    assert not lines["site dev: slurm"].ok  # there is no scontrol here
    assert not lines["database"].ok  # nor /var/lib/cts
