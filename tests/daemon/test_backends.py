"""Which road to Slurm a site's settings choose."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SiteSection
from gateway.daemon.backends import make_backend
from gateway.daemon.site import make_site
from gateway.slurm.hands import LocalHands
from gateway.slurm.pyslurm import PyslurmBackend
from gateway.slurm.rest import RestBackend
from tests.conftest import CHECKOUT
from tests.slurm.test_pyslurm import FAKE


def chosen(tmp_path: Path, **keys: Any) -> str:
    section = SiteSection(work_dir=tmp_path / "work", **keys)
    site = make_site("dev", section)
    site.close()
    return site.backend.name


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A pyslurm beside the gateway; returns the helper that loads it."""
    (tmp_path / "pyslurm.py").write_text(FAKE)
    (tmp_path / "version").write_text("25.11.7")
    monkeypatch.syspath_prepend(str(tmp_path))
    load = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(CHECKOUT)!r}]; from gateway.cli.helper import main; sys.exit(main())"
    return (sys.executable, "-c", load)


def test_auto_takes_the_commands_where_pyslurm_is_not_installed(tmp_path: Path) -> None:
    assert chosen(tmp_path) == "cli"


def test_auto_takes_pyslurm_where_it_works(tmp_path: Path, installed: tuple[str, ...]) -> None:
    assert chosen(tmp_path, helper=installed) == "pyslurm"


def test_auto_takes_the_commands_where_pyslurm_is_of_another_release(
    tmp_path: Path, installed: tuple[str, ...]
) -> None:
    (tmp_path / "version").write_text("26.05.5")
    assert chosen(tmp_path, helper=installed) == "cli"


def test_what_is_named_is_taken_whether_it_works_or_not(tmp_path: Path) -> None:
    assert chosen(tmp_path, backend="cli") == "cli"
    hands = LocalHands(str(tmp_path / "work"), exclusive=False)
    section = SiteSection(work_dir=tmp_path / "work", backend="pyslurm")
    assert isinstance(make_backend(section, hands), PyslurmBackend)
    rest = {"backend": "rest", "rest": {"url": "unix:/s"}, "slurm_user": "ctsjob"}
    section = SiteSection(work_dir=tmp_path / "work", **rest)
    assert isinstance(make_backend(section, hands), RestBackend)
