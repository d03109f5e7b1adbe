"""The root file system of the site: made once by mmdebstrap from Debian sid, shared by all clusters."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

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
    "sudo",
    "util-linux",
    "less",
]
_RECIPE = 2
_NEEDED_GB = 6


def apt_install(*packages: str) -> None:
    """Install Debian packages on the host, refreshing the lists first when that is needed.

    Raises
    ------
    ClusterError
        When apt-get is missing or fails.
    """
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"install {' '.join(packages)}: this machine has no apt-get, and the dev cluster needs them"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if subprocess.run(install, env=environment, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True, check=False)
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"apt-get could not install {' '.join(packages)}: {last}")


def ensure(cache: Path, mirror: str | None) -> Path:
    """Return the root file system's directory, building it when it is missing (about two minutes, 3 GB).

    Raises
    ------
    ClusterError
        Too little disk, no mmdebstrap, or mmdebstrap's own trouble.
    """
    digest = hashlib.sha256(f"{_RECIPE} {' '.join(PACKAGES)}".encode()).hexdigest()[:12]
    root = cache / f"rootfs-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "rootfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        free = shutil.disk_usage(cache).free
        if free < _NEEDED_GB << 30:
            raise ClusterError(
                f"{cache} has {free >> 30} GiB free and {_NEEDED_GB} GiB are needed; choose another with --cache"
            )
        for tool, package in (
            ("mmdebstrap", "mmdebstrap"),
            ("unshare", "util-linux"),
            ("mount", "mount"),
        ):
            if shutil.which(tool) is None:
                print(f"  installing {package} on this machine", flush=True)
                apt_install(package)
        _build(root, cache, mirror)
    return root


def _build(root: Path, cache: Path, mirror: str | None) -> None:
    begin = time.monotonic()
    print(f"  building the root file system {root} (once; a few minutes)", flush=True)
    part = cache / f".{root.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--components=main",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Retries "3"',
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        f"--include={','.join(PACKAGES)}",
        "sid",
        str(part),
    ]
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
