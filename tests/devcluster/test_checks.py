"""What the host lacks is told in one line, with what to do."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from devclusterlib import checks
from devclusterlib.settings import ClusterError, Settings
from devclusterlib.up import slurm_prefix

COMMAND = Path(__file__).resolve().parents[2] / "deploy/devcluster"


@pytest.fixture
def taken(settings: Settings) -> Iterator[Settings]:
    """Settings one port of which some program listens on."""
    with socket.socket() as listener:
        for base in range(28100, 31000, 100):
            try:
                listener.bind(("127.0.0.1", replace(settings, base_port=base).port("rgw")))
            except OSError:
                continue
            listener.listen()
            yield replace(settings, base_port=base)
            return


def test_a_port_in_use_is_named_with_a_base_port_whose_sixty_are_free(taken: Settings) -> None:
    with pytest.raises(ClusterError, match=f"port {taken.port('rgw')} is in use") as caught:
        checks.ports(taken, [])
    found = re.search(r"--base-port (\d+)", str(caught.value))
    assert found is not None
    assert int(found[1]) > taken.base_port
    checks.ports(replace(taken, base_port=int(found[1])), [])


def test_ports_of_another_cluster_that_is_up_are_not_taken_though_nobody_listens_there_yet(
    settings: Settings,
) -> None:
    other = replace(settings, name="other", base_port=settings.base_port + 59)
    with pytest.raises(ClusterError, match="are those of the cluster 'other'"):
        checks.ports(settings, [other])


def test_too_little_disk_says_how_much_there_is_and_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"GiB free and a cluster needs 1e\+09 GiB.*--cache"):
        checks.disk(tmp_path, 1e9, "a cluster")


def test_a_missing_device_of_fuse_says_what_needs_it(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="Apptainer needs it: 'modprobe fuse'"):
        checks.fuse(tmp_path / "fuse")


def test_a_missing_tool_where_there_is_no_apt_get_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="install mmdebstrap: this machine has no apt-get"):
        checks.tools({"mmdebstrap": "mmdebstrap"})


def test_tools_are_installed_from_the_packages_that_hold_them_after_a_look_at_new_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f"[ $1 = update ] && : > {tmp_path}/updated\n[ -e {tmp_path}/updated ]\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    checks.tools({"no-such-tool": "its-package"})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["install", "update", "install"]
    assert calls[0].endswith("its-package")


def test_a_tool_that_apt_cannot_install_is_told_with_apts_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho E: Unable to locate package >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="could not install x: E: Unable to locate package"):
        checks.apt_install("x")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("true", "ordinary users can make no user namespaces"),
        ("echo 0 > /proc/sys/user/max_user_namespaces", "sysctl -w user.max_user_namespaces=10000"),
    ],
)
def test_no_user_namespaces_for_ordinary_users_is_told_with_the_setting_that_gives_them(
    prepare: str, message: str
) -> None:
    code = "from devclusterlib import checks; checks.user_namespaces()"
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "sh", "-c"),
            f'{prepare}; exec "$@"',
            *("sh", sys.executable, "-c", code),
        ],
        env={"PYTHONPATH": str(COMMAND.parent), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert message in done.stderr


def _prefix(directory: Path) -> Path:
    for program in ("sbin/slurmctld", "sbin/slurmdbd", "sbin/slurmd", "bin/sbatch", "bin/srun"):
        path = directory / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return directory


def test_a_slurm_prefix_is_kept_until_another_or_debians_own_is_asked_for(
    tmp_path: Path, settings: Settings
) -> None:
    base, prefix = tmp_path / "rootfs", _prefix(tmp_path / "slurm")
    assert slurm_prefix(None, None, base) is None
    assert slurm_prefix(str(prefix), None, base) == str(prefix)
    kept = replace(settings, slurm_prefix=str(prefix))
    assert slurm_prefix(None, kept, base) == str(prefix)
    assert slurm_prefix("debian", kept, base) is None


def test_a_slurm_prefix_that_lacks_a_program_or_hides_the_sites_files_is_refused(
    tmp_path: Path,
) -> None:
    base, prefix = tmp_path / "rootfs", _prefix(tmp_path / "slurm")
    (base / prefix.relative_to("/") / "bin").mkdir(parents=True)
    with pytest.raises(ClusterError, match="files of its own there"):
        slurm_prefix(str(prefix), None, base)
    (prefix / "bin/srun").unlink()
    with pytest.raises(ClusterError, match=r"there is no bin/srun below it"):
        slurm_prefix(str(prefix), None, base)


@pytest.mark.parametrize(("arguments", "code"), [(("up",), 1), (("exec", "--", "id"), 125)])
def test_without_root_nothing_is_tried(arguments: tuple[str, ...], code: int) -> None:
    """In a user namespace without a mapping one is nobody."""
    done = subprocess.run(
        ["unshare", "--user", sys.executable, str(COMMAND), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == (
        "devcluster: this needs root: it makes namespaces and mounts; run it with sudo\n"
    )
    assert done.returncode == code


@pytest.mark.parametrize("arguments", [("status",), ("destroy",), ("restart", "rgw")])
def test_a_cluster_that_was_never_made_is_named_with_how_to_make_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [str(COMMAND), "--cache", str(tmp_path), "--name", "never", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"devcluster: there is no cluster 'never' below {tmp_path}; 'deploy/devcluster --name never up' makes it\n"
    )
    assert list(tmp_path.iterdir()) == []
