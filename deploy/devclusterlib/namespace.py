"""The site's namespaces: own mounts, hostname, processes, IPC and cgroups, over a writable layer of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from devclusterlib.settings import INSIDE_FILE, ClusterError, Settings

_V1 = ("memory", "cpuset", "freezer", "devices", "cpuacct")

# Runs as PID 1 of the new namespaces: mounts, pivots (a chroot would not let users make user namespaces), reaps.
_INIT = r"""
set -eu
base=$1 dir=$2 checkout=$3 cgroup=$4 cache=$5 prefix=$6
mount --make-rprivate /
mkdir -p "$dir/upper" "$dir/work" "$dir/root" "$dir/scratch" "$cache/uv"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mkdir -p oldroot src scratch var/cache/uv
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
  name=${node%%:*} rest=${node#*:}
  mknod -m 666 "dev/$name" c "${rest%%:*}" "${rest##*:}"
done
mkdir -p dev/pts dev/shm run/lock run/devcluster
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin; ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr
mount --bind "$checkout" src
mount -o remount,bind,ro src
mount --bind "$dir/scratch" scratch
chmod 755 scratch
mount --bind "$cache/uv" var/cache/uv
if [ -n "$prefix" ]; then mkdir -p ".$prefix"; mount --bind "$prefix" ".$prefix"; fi
if [ "$cgroup" = v1 ]; then
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  for c in memory cpuset freezer devices cpuacct; do
    mkdir -p "sys/fs/cgroup/$c"; mount -t cgroup -o "$c" cgroup "sys/fs/cgroup/$c"
  done
elif [ "$cgroup" = v2 ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
hostname localhost
cp -L /etc/resolv.conf etc/resolv.conf 2>/dev/null || true
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -r "$bundle" ]; then cp -L "$bundle" etc/ssl/host-ca.crt; fi
pivot_root . oldroot
umount -l /oldroot
exec /usr/bin/python3 -c '
import os, time
open("/run/devcluster/up", "w").close()
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        time.sleep(0.2)
' <>/dev/null >/run/devcluster/init.log 2>&1
"""


def pid_of(settings: Settings) -> int | None:
    """Return the host's pid of the site's init, None when the site is not up."""
    path = Path(settings.directory) / "init.pid"
    try:
        pid, started = path.read_text().split()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return int(pid) if stat[19] == started and stat[0] not in "ZX" else None


def start(settings: Settings, base: Path) -> int:
    """Make the namespaces and their init; return its pid on the host.

    Raises
    ------
    ClusterError
        With the last words of the set-up when it failed.
    """
    directory = Path(settings.directory)
    directory.mkdir(parents=True, exist_ok=True)
    if settings.cgroup == "v1":
        _enter_v1(settings.name)
    elif settings.cgroup == "v2":
        group = Path(f"/sys/fs/cgroup/cts-{settings.name}")
        group.mkdir(exist_ok=True)
    log = (directory / "init.log").open("wb")
    script = _INIT
    process = subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--fork",
            "--",
            "bash",
            "-c",
            script,
            "init",
            str(base),
            str(directory),
            settings.checkout,
            settings.cgroup,
            settings.cache,
            settings.slurm_prefix or "",
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=lambda: _join(settings),  # noqa: PLW1509 - one thread only here
    )
    for _ in range(200):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        if pids and Path(f"/proc/{pids[0]}/root/run/devcluster/up").exists():
            started = Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[19]
            (directory / "init.pid").write_text(f"{pids[0]} {started}\n")
            Path(f"/proc/{pids[0]}/root{INSIDE_FILE}").write_text(json.dumps(asdict(settings)))
            return int(pids[0])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    said = (directory / "init.log").read_text(errors="replace").strip().splitlines()
    raise ClusterError(
        f"the site's namespaces could not be made: {said[-1] if said else 'no message'}"
    )


def stop(settings: Settings) -> bool:
    """Kill the site's init, and with it every process of the site; tell whether it was up."""
    pid = pid_of(settings)
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        if pid_of(settings) is None:
            break
        time.sleep(0.05)
    (Path(settings.directory) / "init.pid").unlink(missing_ok=True)
    return True


def enter(
    settings: Settings, command: list[str], user: str = "root", cwd: str | None = None
) -> list[str]:
    """Return the argv that runs a command in the site as a user, with a clean environment.

    Raises
    ------
    ClusterError
        When the site is not up.
    """
    pid = pid_of(settings)
    if pid is None:
        raise ClusterError(
            f"the dev cluster {settings.name!r} is not up; run 'deploy/devcluster up' first"
        )
    home = "/root" if user == "root" else ("/home/" + user)
    path = "/opt/cts/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if settings.slurm_prefix:
        path = f"{settings.slurm_prefix}/bin:{settings.slurm_prefix}/sbin:{path}"
    variables = [
        f"PATH={path}",
        f"HOME={home}",
        f"USER={user}",
        f"LOGNAME={user}",
        "LANG=C.UTF-8",
        f"TERM={os.environ.get('TERM', 'dumb')}",
        "SHELL=/bin/bash",
    ]
    # After nsenter the root is the site's; wd is given to `env -C`, which fails clearly when it is missing.
    return [
        "nsenter",
        "--target",
        str(pid),
        "--mount",
        "--uts",
        "--ipc",
        "--pid",
        "--cgroup",
        "--",
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--init-groups",
        "--",
        "env",
        "-i",
        f"--chdir={cwd or ('/' if user == 'root' else home)}",
        *variables,
        *command,
    ]


def _enter_v1(name: str) -> None:
    for controller in _V1:
        group = Path(f"/sys/fs/cgroup/{controller}/cts-{name}")
        group.mkdir(exist_ok=True)
        if controller == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((group.parent / file).read_text())


def _join(settings: Settings) -> None:
    groups = {
        "v1": [f"/sys/fs/cgroup/{c}/cts-{settings.name}" for c in _V1],
        "v2": [f"/sys/fs/cgroup/cts-{settings.name}"],
    }.get(settings.cgroup, [])
    for group in groups:
        Path(f"{group}/cgroup.procs").write_text(str(os.getpid()))
