"""What the host must have before a cluster can come up; each lack is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devclusterlib.settings import PORTS, ClusterError, Settings

CLUSTER_GB = 2
_TOOLS = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
    "bash": "bash",
}
_NOBODY = 65534


def apt_install(*packages: str) -> None:
    """Install Debian packages on the host, refreshing the lists first when that is needed.

    Raises
    ------
    ClusterError
        When apt-get is missing or fails.
    """
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise ClusterError(f"install {names}: this machine has no apt-get to do it with")
    print(f"  installing {names} on this machine", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if subprocess.run(install, env=environment, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True, check=False)
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"apt-get could not install {names}: {last}")


def root() -> None:
    """Refuse to go on without root."""
    if os.geteuid() != 0:
        raise ClusterError("this needs root: it makes namespaces and mounts; run it with sudo")


def tools(needed: dict[str, str] = _TOOLS) -> None:
    """Install what the host lacks of the programs named, from the packages named."""
    missing = {package for tool, package in needed.items() if shutil.which(tool) is None}
    if missing:
        apt_install(*sorted(missing))


def fuse(device: Path = Path("/dev/fuse")) -> None:
    """Refuse to go on without FUSE, with which Apptainer mounts images."""
    if not device.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "fuse"], capture_output=True, check=False)
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as exc:
        raise ClusterError(
            f"{device} cannot be opened ({exc.strerror}), and Apptainer needs it: 'modprobe fuse', "
            "or give this container the device"
        ) from exc


def user_namespaces() -> None:
    """Refuse to go on where ordinary users may make no user namespaces, in which Apptainer runs."""
    ids = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    probe = ["setpriv", *ids, "unshare", "--user", "--map-root-user", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode == 0:
        return
    remedy = done.stderr.strip().rpartition("\n")[2] or "unshare --user fails"
    for key, off, on in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ):
        path = Path("/proc/sys") / key
        if path.exists() and path.read_text().strip() == off:
            remedy = f"sysctl -w {on}"
            break
    raise ClusterError(
        f"ordinary users can make no user namespaces, and Apptainer needs them: {remedy}"
    )


def disk(directory: Path, gib: float, what: str) -> None:
    """Refuse to go on with too little disk, or on a file system that runs no programs."""
    state = os.statvfs(directory)
    free = state.f_bavail * state.f_frsize
    if free < gib * (1 << 30):
        raise ClusterError(
            f"{directory} has {free / (1 << 30):.1f} GiB free and {what} needs {gib:g} GiB; choose another with --cache"
        )
    for flag, name in ((os.ST_NOEXEC, "noexec"), (os.ST_NOSUID, "nosuid")):
        if state.f_flag & flag:
            raise ClusterError(
                f"{directory} is mounted {name}, and the site's programs are there; choose another with --cache"
            )


def ports(settings: Settings, others: Iterable[Settings]) -> None:
    """Refuse ports that are taken: by a cluster that is up, whose 60 must not overlap, or by any program."""
    taken = {other.base_port: other.name for other in others}
    remedy = f"choose others, as with --base-port {_free_base(settings.base_port, taken)}"
    for base, name in taken.items():
        if abs(base - settings.base_port) < PORTS:
            raise ClusterError(
                f"ports {base} to {base + PORTS - 1} are those of the cluster {name!r}; {remedy}"
            )
    for port in settings.ports:
        if not _is_free(port):
            raise ClusterError(f"port {port} is in use by another program; {remedy}")


def _is_free(port: int) -> bool:
    for address in ("127.0.0.1", ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _free_base(base: int, taken: Iterable[int]) -> int:
    """Return the next base port in steps of 100 whose 60 ports are free; `base` when there is none."""
    near = list(taken)
    for tried in range(base // 100 * 100 + 100, 32000, 100):
        if all(abs(tried - other) >= PORTS for other in near) and all(
            _is_free(port) for port in range(tried, tried + PORTS)
        ):
            return tried
    return base
