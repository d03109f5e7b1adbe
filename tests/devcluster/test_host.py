"""A site's files on the host: its writable layer, and which process is its init."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from devclusterlib import checks, layer, namespace
from devclusterlib.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A small root file system."""
    path = tmp_path / "rootfs-1"
    (path / "etc").mkdir(parents=True)
    (path / "etc/hostname").write_text("site\n")
    return path


@pytest.fixture(autouse=True)
def little_disk_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """These clusters are empty."""
    monkeypatch.setattr(checks, "CLUSTER_GB", 0)


def _directory(settings: Settings) -> Path:
    path = Path(settings.directory)
    path.mkdir(parents=True)
    return path


def test_files_made_over_another_root_file_system_are_not_kept(
    settings: Settings, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = _directory(settings)
    layer.prepare(directory, base)
    (directory / "upper/old").touch()
    layer.prepare(directory, base)
    assert (directory / "upper/old").exists()
    assert capsys.readouterr().out == ""
    layer.prepare(directory, base.rename(base.with_name("rootfs-2")))
    assert not (directory / "upper/old").exists()
    assert "made anew" in capsys.readouterr().out


_ON_OVERLAY = """
set -e
cd "$1"; mkdir lower upper work merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
mkdir merged/cluster
exec "$2" -c '
import sys
from pathlib import Path
from devclusterlib import checks, layer
checks.CLUSTER_GB = layer._COPY_GB = 0
base, directory = Path(sys.argv[1]), Path(sys.argv[2])
(directory / ".copy.part/half").mkdir(parents=True)
print(layer.prepare(directory, base), sorted(p.name for p in (directory / "copy").iterdir()))
print(layer.prepare(directory, base))
' "$3" merged/cluster
"""


def test_where_the_cache_is_on_an_overlay_itself_the_root_file_system_is_copied_once(
    base: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", _ON_OVERLAY),
            *("sh", str(tmp_path), sys.executable, str(base)),
        ],
        env={**os.environ, "PYTHONPATH": str(DEPLOY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, copied, again = done.stdout.rsplit("\n", 3)[:3]
    assert "copying the root file system" in said
    assert copied == "None ['etc']"
    assert again == "None"


def test_the_init_of_a_site_is_the_process_that_began_then_in_this_run_of_the_machine(
    settings: Settings,
) -> None:
    file = _directory(settings) / "init.pid"
    assert namespace.pid_of(settings) is None
    own = os.getpid()
    started = Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    file.write_text(f"{own} {started} {boot}\n")
    assert namespace.pid_of(settings) == own
    for stale in (f"{own} {started} another-boot", f"{own} 1 {boot}", f"{own}", ""):
        file.write_text(stale)
        assert namespace.pid_of(settings) is None, stale


def test_stopping_what_a_restart_of_the_machine_has_ended_leaves_no_trace(
    settings: Settings,
) -> None:
    file = _directory(settings) / "init.pid"
    file.write_text("1 1 another-boot\n")
    assert namespace.stop(settings) is False
    assert not file.exists()
    assert namespace.destroy(settings) is False
    assert not Path(settings.directory).exists()
