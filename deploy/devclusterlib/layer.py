"""The writable layer of a site: an overlay over the shared root file system, or a copy where no overlay can be.

An overlay's upper directory cannot be on another overlay, as the root of most containers is.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from devclusterlib import checks
from devclusterlib.settings import ClusterError

_COPY_GB = 4
_PROBE = 'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"'


def prepare(directory: Path, base: Path) -> Path | None:
    """Make the layer's directories, and start anew when the root file system is another one than last time.

    Returns
    -------
    Path or None
        The directory for upper, work and root of an overlay; None when the site's root is a copy in `copy`.
    """
    checks.disk(directory, checks.CLUSTER_GB, "a cluster")
    stamp = directory / "base"
    if stamp.exists() and stamp.read_text() != base.name:
        print("  the root file system is a new one: the cluster's files are made anew", flush=True)
        clear(directory)
    for name in ("upper", "work", "root", "scratch"):
        (directory / name).mkdir(exist_ok=True)
    stamp.write_text(base.name)
    if not (directory / "copy").is_dir():
        if _carries_overlay(directory, base):
            return directory
        _copy(directory, base)
    return None


def clear(directory: Path) -> None:
    """Remove everything that belongs to the root file system that the layer was made over."""
    for name in ("upper", "work", "root", "copy", ".copy.part", "scratch"):
        if (directory / name).exists():
            shutil.rmtree(directory / name)


def _carries_overlay(directory: Path, base: Path) -> bool:
    """Try the mount, in namespaces of its own."""
    command = ["unshare", "--mount", "sh", "-c", _PROBE, "probe", str(base), str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _copy(directory: Path, base: Path) -> None:
    print("  the cache's file system can carry no overlay (it is one itself, or a network's):")
    print("  copying the root file system instead (once a cluster)", flush=True)
    checks.disk(directory, _COPY_GB, "a copy of the root file system")
    part = directory / ".copy.part"
    if part.exists():
        shutil.rmtree(part)
    copy = ["cp", "--archive", "--reflink=auto", str(base), str(part)]
    done = subprocess.run(copy, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"cp: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    part.rename(directory / "copy")
