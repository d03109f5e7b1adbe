"""Bringing a cluster up: the host is checked, the root file system made, the namespaces, and then the parts inside."""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from devclusterlib import cgroups, checks, namespace, rootfs, site
from devclusterlib.settings import (
    CHECKOUT,
    COMMIT_FILE,
    OSD_STORES,
    ClusterError,
    Settings,
    base_port,
    shared_with_tests,
)


def up(options: argparse.Namespace, name: str, cache: Path, kept: Settings | None) -> int:
    """Bring the cluster up; return 0 when every part is."""
    begin = time.monotonic()
    print(f"dev cluster {name!r}, cache {cache}", flush=True)
    store = osd_store(options.osd_store, kept)
    settings = Settings(
        name,
        str(cache),
        str(cache / "clusters" / name),
        base_port(options.base_port, kept),
        slurm_prefix(options.slurm_prefix, kept, rootfs.place(cache)),
        _cgroup(options.cgroup, kept),
        osd_bytes=OSD_STORES[store],
        osd_store=store,
    )
    checks.tools()
    checks.fuse()
    checks.user_namespaces()
    base = rootfs.ensure(cache, options.mirror)
    _stop_another(settings, kept)
    running = namespace.pid_of(settings)
    if running is None or not namespace.is_ready(running):
        namespace.stop(settings)
        checks.ports(settings, site.others_up(settings))
        settings.save()
        namespace.start(settings, base)
    if not options.no_gateway:
        _python(CHECKOUT)
        Path(f"/proc/{site.pid(settings)}/root{COMMIT_FILE}").write_text(_commit())
    code = site.run_inside(settings, "up", *(["--no-gateway"] if options.no_gateway else []))
    print(f"{'up' if code == 0 else 'NOT up'} after {time.monotonic() - begin:.0f} s", flush=True)
    return code


def _stop_another(settings: Settings, kept: Settings | None) -> None:
    """Stop the cluster that is up when it is not as it shall be."""
    pid = namespace.pid_of(kept) if kept is not None else None
    if kept is None or pid is None:
        return
    sees = _sees_checkout(pid)
    if kept == settings and sees:
        return
    print("  settings or checkout changed: the cluster is started again", flush=True)
    if sees:
        site.stop(kept)
    else:
        namespace.stop(kept)  # what would end its parts in order was in the checkout that has gone


def _sees_checkout(pid: int) -> bool:
    """Tell whether the site has this very directory: one that was removed and made again has only its path in common."""
    try:
        return Path(f"/proc/{pid}/root/src").samefile(CHECKOUT)
    except OSError:
        return False


def slurm_prefix(option: str | None, kept: Settings | None, base: Path) -> str | None:
    """Return the directory of the Slurm to use, None for Debian's.

    Raises
    ------
    ClusterError
        When there is no Slurm below it, or mounting it would hide what the site has there.
    """
    if option == "debian":
        return None
    chosen = (
        option or shared_with_tests().get("slurm_prefix") or (kept.slurm_prefix if kept else None)
    )
    if chosen is None:
        return None
    prefix = Path(chosen).absolute()
    for program in ("sbin/slurmctld", "sbin/slurmdbd", "sbin/slurmd", "bin/sbatch", "bin/srun"):
        if not (prefix / program).exists():
            raise ClusterError(
                f"--slurm-prefix {prefix}: there is no {program} below it; 'debian' means Debian's own"
            )
    inside = base / prefix.relative_to("/")
    if inside.is_dir() and any(inside.iterdir()):
        raise ClusterError(
            f"--slurm-prefix {prefix}: the site has files of its own there; install Slurm under a directory of its own"
        )
    return str(prefix)


def osd_store(option: str | None, kept: Settings | None) -> str:
    """Where S3's objects are: the option, as last time, or memory."""
    return option or (kept.osd_store if kept is not None else "memory")


def _cgroup(option: str | None, kept: Settings | None) -> str:
    if option not in (None, "auto"):
        if not cgroups.usable(option):
            raise ClusterError(
                f"cgroup {option} cannot be used on this machine: {cgroups.detect()} can; see 'up --help'"
            )
        return option
    if option is None and kept is not None and cgroups.usable(kept.cgroup):
        return kept.cgroup
    found = cgroups.detect()
    if found == "none":
        print("  no cgroups can be used here: jobs are not held to their memory", flush=True)
    return found


def _python(checkout: Path) -> None:
    if not (checkout / ".venv/bin/uv").exists():
        done = subprocess.run([str(checkout / "deploy/bootstrap")], check=False)
        if done.returncode != 0:
            raise ClusterError("deploy/bootstrap failed; see above")


def _commit() -> str:
    """Return the commit of the checkout for the gateway's wheel; empty where git does not know it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
