"""The site's namespaces: own mounts, hostname, processes, IPC and cgroups, over a writable layer of its own.

Nothing of a site is mounted on the host: its mounts go when its init goes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from devclusterlib import cgroups, layer
from devclusterlib.settings import INSIDE_FILE, ClusterError, Settings

# Runs as PID 1 of the new namespaces: mounts, pivots (a chroot would not let users make user namespaces), reaps.
_INIT = (Path(__file__).parent / "init.sh").read_text()


def pid_of(settings: Settings) -> int | None:
    """Return the host's pid of the site's init, None when the site is not up."""
    path = Path(settings.directory) / "init.pid"
    try:
        pid, started, *boot = path.read_text().split()
        stat = _stat(int(pid))
    except (OSError, ValueError):
        return None
    if boot and boot[0] != _boot_id():
        return None
    return int(pid) if stat[19] == started and stat[0] not in "ZX" else None


def is_ready(pid: int) -> bool:
    """Tell whether an init has made its site ready to be entered."""
    return Path(f"/proc/{pid}/root/run/devcluster/up").exists()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start(settings: Settings, base: Path) -> int:
    """Make the namespaces and their init; return its pid on the host.

    Raises
    ------
    ClusterError
        With the last words of the set-up when it failed.
    """
    directory = Path(settings.directory)
    directory.mkdir(parents=True, exist_ok=True)
    top = layer.prepare(directory, base)
    cgroups.make(settings.name, settings.cgroup)
    hierarchies = ""
    if settings.cgroup == "v1":
        found = cgroups.hierarchies(Path("/proc/mounts").read_text())
        hierarchies = " ".join(f"{where.name}={names}" for names, where in found.items())
    command = [
        *("unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--"),
        *("bash", "-c", _INIT, "init"),
        *("" if top is None else str(base), str(top or ""), str(directory)),
        *(settings.checkout, settings.cgroup, hierarchies, settings.cache),
        *(settings.slurm_prefix or "", INSIDE_FILE),
    ]
    try:
        with (directory / "init.log").open("wb") as log:
            launcher = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: cgroups.join(settings.name, settings.cgroup),  # noqa: PLW1509 - one thread only here
            )
    except subprocess.SubprocessError as exc:
        raise ClusterError(f"the cgroups {settings.cgroup} of the site cannot be entered") from exc
    assert launcher.stdin is not None
    try:
        pid = _child(launcher)
        (directory / "init.pid").write_text(f"{pid} {_stat(pid)[19]} {_boot_id()}\n")
        cgroups.settle(settings.name, settings.cgroup, pid, launcher.pid)
        # Init waits for this line: were we killed before it, it would end, and no site be without a pid file.
        launcher.stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        launcher.stdin.close()
        deadline = time.monotonic() + 60
        while not is_ready(pid):
            if launcher.poll() is not None or time.monotonic() > deadline:
                raise ClusterError("its init ended")
            time.sleep(0.02)
    except (OSError, ClusterError) as exc:
        launcher.kill()
        stop(settings)
        said = (directory / "init.log").read_text(errors="replace").strip().splitlines()
        raise ClusterError(
            f"the site's namespaces could not be made: {said[-1] if said else exc}"
        ) from exc
    return pid


def _child(launcher: subprocess.Popen[bytes]) -> int:
    path = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    for _ in range(500):
        children = path.read_text().split()
        if children:
            return int(children[0])
        if launcher.poll() is not None:
            break
        time.sleep(0.01)
    raise ClusterError("unshare made no process")


def stop(settings: Settings) -> bool:
    """Kill the site's init, and with it every process of the site; tell whether it was up."""
    pid = pid_of(settings)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        for _ in range(600):
            if pid_of(settings) is None:
                break
            time.sleep(0.05)
        else:
            raise ClusterError(f"process {pid}, the site's init, does not end")
    (Path(settings.directory) / "init.pid").unlink(missing_ok=True)
    cgroups.remove(settings.name)
    return pid is not None


def destroy(settings: Settings) -> bool:
    """Stop the site and remove its files; tell whether it was up."""
    was = stop(settings)
    if Path(settings.directory).exists():
        shutil.rmtree(settings.directory)
    return was
