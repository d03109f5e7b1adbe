"""The root file system of the site: made once by mmdebstrap from Debian sid, shared by all clusters."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

from devclusterlib import checks
from devclusterlib.lock import locked
from devclusterlib.settings import ClusterError

PACKAGES = [
    "ca-certificates",
    "munge",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "slurm-client",
    "slurmrestd",
    "slurm-wlm-jwt-plugin",
    "slurm-wlm-mysql-plugin",
    "mariadb-server",
    "apptainer",
    "squashfuse",
    "fuse2fs",
    "fuse-overlayfs",
    "uidmap",
    "crane",
    "docker-registry",
    "openssh-server",
    "openssh-client",
    "python3",
    "python3-venv",
    "python3-awscrt",
    "iproute2",
    "procps",
    "curl",
    "jq",
    "busybox-static",
    "radosgw",
    "ceph-mon",
    "ceph-osd",
    "ceph-base",
    "rclone",
    "awscli",
    "prometheus",
    "sudo",
    "util-linux",
    "less",
]
_RECIPE = 2
_NEEDED_GB = 6
_SUITE = "sid"
_OPTIONS = [
    "--variant=minbase",
    "--components=main",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Acquire::Retries "3"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
]
# In namespaces of its own and killed with us: a build that is broken off leaves no process and no mount behind.
_ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]


def place(cache: Path) -> Path:
    """Return where the root file system of this recipe is, or would be."""
    digest = hashlib.sha256(f"{_RECIPE} {' '.join(PACKAGES)}".encode()).hexdigest()[:12]
    return cache / f"rootfs-{digest}"


def ensure(cache: Path, mirror: str | None) -> Path:
    """Return the root file system's directory, building it when it is missing (about a minute, 2.5 GB).

    Raises
    ------
    ClusterError
        Too little disk, no mmdebstrap, or mmdebstrap's own trouble.
    """
    root = place(cache)
    with locked(cache / "rootfs.lock", "the root file system"):
        for part in cache.glob(".rootfs-*.part"):
            shutil.rmtree(part)
        if not root.is_dir():
            checks.disk(cache, _NEEDED_GB, "the root file system")
            checks.tools({"mmdebstrap": "mmdebstrap"})
            _build(root, cache, mirror)
    return root


def _build(root: Path, cache: Path, mirror: str | None) -> None:
    begin = time.monotonic()
    print(f"  building the root file system {root} (once; a minute or two)", flush=True)
    part = cache / f".{root.name}.part"
    include = f"--include={','.join(PACKAGES)}"
    command = [*_ALONE, "--", "mmdebstrap", *_OPTIONS, include, _SUITE, str(part)]
    if mirror:
        command.append(mirror)
    log = cache / "rootfs-build.log"
    for attempt in (1, 2):
        with log.open("wb") as out:
            done = subprocess.run(command, stdout=out, stderr=out, check=False)
        if done.returncode == 0:
            break
        shutil.rmtree(part, ignore_errors=True)
        tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        if attempt == 2:
            raise ClusterError(f"mmdebstrap failed; see {log}: {tail}")
    part.rename(root)
    print(f"  built in {time.monotonic() - begin:.0f} s", flush=True)
