"""Which cluster, which cache, which ports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from devclusterlib import settings as module
from devclusterlib.settings import (
    PORTS,
    ClusterError,
    Settings,
    base_port,
    cache_directory,
    cluster_name,
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without test.cfg, and no variables that name a cluster."""
    for name in ("CTS_CLUSTER", "CTS_CACHE", "CTS_BASE_PORT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "checkout"
    path.mkdir()
    monkeypatch.setattr(module, "CHECKOUT", path)
    return path


def test_a_cluster_listens_on_different_ports_all_within_its_sixty(settings: Settings) -> None:
    ports = settings.ports
    assert len(set(ports)) == len(ports) >= 10
    assert min(ports) >= settings.base_port
    assert max(ports) < settings.base_port + PORTS


def test_two_clusters_sixty_ports_apart_share_none(settings: Settings) -> None:
    other = replace(settings, base_port=settings.base_port + PORTS)
    assert not set(settings.ports) & set(other.ports)


def test_the_name_is_the_option_then_the_variable_then_test_cfg_then_dev(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster_name(None) == "dev"
    (checkout / "test.cfg").write_text("[test]\ncluster = from-file\n")
    assert cluster_name(None) == "from-file"
    monkeypatch.setenv("CTS_CLUSTER", "from-variable")
    assert cluster_name(None) == "from-variable"
    assert cluster_name("from-option") == "from-option"


@pytest.mark.parametrize("name", ["../dev", "Dev", "a b", "-x", "1a", "x" * 32, "a_b"])
def test_a_name_that_cannot_name_a_directory_a_cgroup_and_a_slurm_cluster_is_refused(
    name: str,
) -> None:
    with pytest.raises(ClusterError, match="small letters, digits"):
        cluster_name(name)


def test_a_test_cfg_that_cannot_be_read_is_named(checkout: Path) -> None:
    (checkout / "test.cfg").write_text("cluster = dev\n")
    with pytest.raises(ClusterError, match=r"test\.cfg"):
        cluster_name(None)


def test_the_cache_is_the_option_then_the_variable_then_test_cfg_then_in_the_home(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory(None) == tmp_path / ".cache/cts"
    (checkout / "test.cfg").write_text("[test]\ncache = /from/file\n")
    assert cache_directory(None) == Path("/from/file")
    monkeypatch.setenv("CTS_CACHE", "/from/variable")
    assert cache_directory(None) == Path("/from/variable")
    assert cache_directory("/from/option") == Path("/from/option")


def test_a_cache_inside_the_checkout_is_refused_also_through_a_link(
    checkout: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(checkout)
    for path in (checkout, checkout / "cache", link / "cache"):
        with pytest.raises(ClusterError, match="inside the checkout"):
            cache_directory(str(path))


def test_a_cache_whose_name_mount_options_cannot_hold_is_refused(checkout: Path) -> None:
    with pytest.raises(ClusterError, match="a mount cannot take"):
        cache_directory("/tmp/a:b")


def test_the_base_port_is_the_option_then_the_variable_then_as_last_time_then_17100(
    checkout: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_port(None, None) == 17100
    assert base_port(None, settings) == settings.base_port
    monkeypatch.setenv("CTS_BASE_PORT", "18000")
    assert base_port(None, settings) == 18000
    assert base_port(19000, settings) == 19000


@pytest.mark.parametrize("port", [0, 80, 65500, 70000])
def test_a_base_port_without_room_for_sixty_unprivileged_ports_is_refused(port: int) -> None:
    with pytest.raises(ClusterError, match="from 1024 to 65476"):
        base_port(port, None)


def test_a_variable_that_is_no_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTS_BASE_PORT", "many")
    with pytest.raises(ClusterError, match="CTS_BASE_PORT is 'many'"):
        base_port(None, None)


def test_settings_are_found_again_and_damaged_ones_name_the_remedy(settings: Settings) -> None:
    path = Path(settings.directory, "settings.json")
    assert Settings.load(path) is None
    settings.save()
    assert Settings.load(path) == settings
    for text in ("{", '{"name": "unit"}', '{"unknown": 1}'):
        path.write_text(text)
        with pytest.raises(ClusterError, match="destroy"):
            Settings.load(path)
