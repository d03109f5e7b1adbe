"""The cluster's control groups on the host: which kind the machine has, making, entering and removing them.

Every process of a site is in a group `cts-NAME`, which a cgroup namespace shows to the site as the root.
With v2 a group that hands controllers on holds no processes: those of the site are in its child `site`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from devclusterlib.settings import ClusterError

FLAVOURS = ("v1", "v2", "none")
_ROOT = Path("/sys/fs/cgroup")
_V1 = ("memory", "cpuset", "freezer", "devices", "cpuacct")
_V2 = ("cpuset", "cpu", "memory", "pids")
_V2_NEEDED = {"cpuset", "memory"}


def hierarchies(mounts: str, root: Path = _ROOT) -> dict[str, Path]:
    """Find the v1 hierarchies that Slurm needs in the text of /proc/mounts.

    Returns
    -------
    dict
        The comma-separated controllers that each is mounted with (`cpu,cpuacct`), and where; empty when one is missing.
    """
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and Path(where).parent == root:
            names = [name for name in options.split(",") if name in (*_V1, "cpu")]
            if set(names) & set(_V1):
                found.setdefault(",".join(names), Path(where))
    if set(_V1) <= {name for names in found for name in names.split(",")}:
        return found
    return {}


def detect() -> str:
    """Find out which cgroups can be used here: `v1`, `v2` or `none`."""
    if usable("v1"):
        return "v1"
    return "v2" if usable("v2") else "none"


def usable(flavour: str) -> bool:
    """Tell whether a site can have cgroups of this kind on this machine."""
    if flavour == "none":
        return True
    if not os.access(_ROOT, os.W_OK):
        return False
    if flavour == "v1":
        return bool(hierarchies(Path("/proc/mounts").read_text()))
    try:
        there = set((_ROOT / "cgroup.controllers").read_text().split())
        _hand_on(_ROOT, there)
        return set((_ROOT / "cgroup.subtree_control").read_text().split()) >= _V2_NEEDED
    except OSError:
        return False


def _hand_on(group: Path, there: set[str]) -> None:
    """Let the children of a v2 group use its controllers; those that are used already cost nothing."""
    control = group / "cgroup.subtree_control"
    for name in _V2:
        if name in there and name not in control.read_text().split():
            control.write_text(f"+{name}")


def groups(name: str, flavour: str) -> list[Path]:
    """Return the directories of a cluster's groups."""
    if flavour == "v1":
        found = hierarchies(Path("/proc/mounts").read_text()).values()
        return [where / f"cts-{name}" for where in found]
    return [_ROOT / f"cts-{name}"] if flavour == "v2" else []


def make(name: str, flavour: str) -> None:
    """Make the cluster's groups.

    Raises
    ------
    ClusterError
        When the machine has no cgroups of this kind that can be used.
    """
    if not usable(flavour):
        raise ClusterError(
            f"cgroup {flavour} cannot be used on this machine; leave --cgroup out, or say 'none'"
        )
    for group in groups(name, flavour):
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if flavour == "v1" and (group / file).exists():
                (group / file).write_text((group.parent / file).read_text())


def join(name: str, flavour: str) -> None:
    """Move the calling process into the cluster's groups, before its cgroup namespace is made."""
    for group in groups(name, flavour):
        (group / "cgroup.procs").write_text("0")


def settle(name: str, flavour: str, init: int, launcher: int) -> None:
    """With v2, once the namespace is made: processes into `site`, the launcher out, and the controllers handed on.

    Slurm refuses a group that holds processes from outside its PID namespace, as the launcher is.
    """
    if flavour != "v2":
        return
    (group,) = groups(name, flavour)
    (group / "site").mkdir(exist_ok=True)
    (group / "site/cgroup.procs").write_text(str(init))
    own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].split("\n")[0]
    (_ROOT / own / "cgroup.procs").write_text(str(launcher))
    _hand_on(group, set((group / "cgroup.controllers").read_text().split()))


def enter(name: str, flavour: str) -> None:
    """Move the calling process into the groups of a cluster that is up."""
    for group in groups(name, flavour):
        inner = group / "site" if flavour == "v2" else group
        (inner / "cgroup.procs").write_text("0")


def remove(name: str, seconds: float = 10) -> None:
    """Remove what is left of a cluster's groups of any kind, once their processes have ended."""
    deadline = time.monotonic() + seconds
    for group in [path for flavour in ("v1", "v2") for path in groups(name, flavour)]:
        while group.is_dir():
            try:
                for directory, _, _ in os.walk(group, topdown=False):
                    Path(directory).rmdir()
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise ClusterError(f"{exc.filename} still holds processes: {exc}") from exc
                time.sleep(0.05)
