"""The command line of the dev cluster, on the host."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from devclusterlib import namespace, rootfs
from devclusterlib.settings import CHECKOUT, ClusterError, Settings, cache_directory, cgroup_flavour

_ABOUT = """\
A whole HPC site on this machine, real parts only: Slurm with accounting, Apptainer, an OCI registry,
Ceph's S3, sshd, and the gateway installed from this checkout. Users: alice, bob, and ada (admin).

  deploy/devcluster up                                   bring it up (builds what is missing)
  deploy/devcluster exec --user alice -- cts jobs        run a command in it
  deploy/devcluster exec -- squeue                       the same as root
  deploy/devcluster restart slurmctld                    restart one part (see 'status' for their names)
  deploy/devcluster down                                 stop it; 'destroy' also removes its files
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/devcluster",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--name",
        default=os.environ.get("CTS_CLUSTER", "dev"),
        help="which cluster ($CTS_CLUSTER; dev)",
    )
    parser.add_argument(
        "--cache", help="directory for root file systems and clusters ($CTS_CACHE; ~/.cache/cts)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring the cluster up, building what is missing")
    up.add_argument(
        "--base-port", type=int, help="first of the 60 ports on loopback (17100, or as last time)"
    )
    up.add_argument(
        "--slurm-prefix", help="use the Slurm installed under this directory instead of Debian's"
    )
    up.add_argument(
        "--mirror", help="Debian mirror for building the root file system (default: the client's)"
    )
    up.add_argument("--no-gateway", action="store_true", help="everything but the gateway")
    run = commands.add_parser("exec", help="run a command in the site; its exit code is passed on")
    run.add_argument("--user", default="root", help="as whom (root)")
    run.add_argument("--cwd", help="directory to run it in")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    status = commands.add_parser(
        "status", help="the state of each part; exit code 1 when one is not up"
    )
    status.add_argument("--json", action="store_true")
    for name, text in (
        ("start", "start a part"),
        ("stop", "stop a part"),
        ("restart", "stop and start a part"),
    ):
        commands.add_parser(name, help=text).add_argument("part")
    kill = commands.add_parser("kill", help="send a part a signal and wait for its end")
    kill.add_argument("part")
    kill.add_argument("--signal", default="KILL")
    logs = commands.add_parser("logs", help="show the log of a part")
    logs.add_argument("part")
    logs.add_argument("-f", "--follow", action="store_true")
    commands.add_parser("env", help="where everything is, as JSON")
    commands.add_parser("down", help="stop the cluster")
    commands.add_parser(
        "destroy", help="stop the cluster and remove its files (root file system kept)"
    )
    return parser


def main() -> int:
    """Run one command; 1 and one line on standard error when it cannot be done."""
    options = _parser().parse_args()
    try:
        return _dispatch(options)
    except ClusterError as exc:
        print(f"devcluster: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _dispatch(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise ClusterError("this needs root: it makes namespaces and mounts; run it with sudo")
    cache = cache_directory(options.cache)
    kept = Settings.load(cache / "clusters" / options.name / "settings.json")
    if options.command == "up":
        return _up(options, cache, kept)
    if kept is None:
        raise ClusterError(
            f"there is no cluster {options.name!r} below {cache}; run 'deploy/devcluster up' first"
        )
    if options.command in ("down", "destroy"):
        was = namespace.stop(kept)
        if options.command == "destroy":
            shutil.rmtree(kept.directory)
        print(
            f"{kept.name}: {'stopped' if was else 'was not up'}{', files removed' if options.command == 'destroy' else ''}"
        )
        return 0
    if options.command == "exec":
        argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
        if not argv:
            raise ClusterError(
                "exec: which command? deploy/devcluster exec [--user NAME] -- COMMAND …"
            )
        command = namespace.enter(kept, argv, options.user, options.cwd)
        sys.stdout.flush()
        os.execvp(command[0], command)
    if options.command == "env":
        print(json.dumps(_facts(kept), indent=1))
        return 0
    if options.command == "logs":
        return _logs(kept, options)
    rest = {"status": ["--json"] if getattr(options, "json", False) else []}.get(options.command)
    if rest is None:
        rest = [options.part] + ([options.signal] if options.command == "kill" else [])
    return _inside(kept, options.command, *rest)


def _up(options: argparse.Namespace, cache: Path, kept: Settings | None) -> int:
    begin = time.monotonic()
    print(f"dev cluster {options.name!r}, cache {cache}", flush=True)
    base_port = options.base_port or (kept.base_port if kept else 17100)
    prefix = options.slurm_prefix or (kept.slurm_prefix if kept else None)
    if prefix is not None and not Path(prefix, "sbin/slurmctld").exists():
        raise ClusterError(f"--slurm-prefix {prefix}: there is no sbin/slurmctld below it")
    settings = Settings(
        options.name,
        str(cache),
        str(cache / "clusters" / options.name),
        base_port,
        prefix,
        cgroup_flavour(),
    )
    if kept is not None and namespace.pid_of(kept) is not None and kept != settings:
        print("  settings or checkout changed: the cluster is started again", flush=True)
        namespace.stop(kept)
    _needs()
    base = rootfs.ensure(cache, options.mirror)
    if namespace.pid_of(settings) is None:
        _free_ports(settings)
        settings.save()
        namespace.start(settings, base)
    if not options.no_gateway:
        _python(CHECKOUT)
    code = _inside(settings, "up", *(["--no-gateway"] if options.no_gateway else []))
    print(f"{'up' if code == 0 else 'NOT up'} after {time.monotonic() - begin:.0f} s", flush=True)
    return code


def _needs() -> None:
    for path, what in (
        ("/dev/fuse", "fuse (modprobe fuse)"),
        ("/proc/self/ns/user", "user namespaces"),
    ):
        if not Path(path).exists():
            raise ClusterError(
                f"{path} is missing: this kernel lacks {what}, and Apptainer needs it"
            )
    limit = Path("/proc/sys/user/max_user_namespaces")
    if limit.exists() and limit.read_text().strip() == "0":
        raise ClusterError(
            "user namespaces are switched off: sysctl user.max_user_namespaces=10000"
        )


def _python(checkout: Path) -> None:
    if not (checkout / ".venv/bin/uv").exists():
        done = subprocess.run([str(checkout / "deploy/bootstrap")], check=False)
        if done.returncode != 0:
            raise ClusterError("deploy/bootstrap failed; see above")


def _free_ports(settings: Settings) -> None:
    for port in settings.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise ClusterError(
                    f"port {port} is in use; choose others with --base-port N"
                ) from exc


def _inside(settings: Settings, *arguments: str) -> int:
    command = [
        "env",
        "PYTHONPATH=/src/deploy",
        "PYTHONDONTWRITEBYTECODE=1",
        "python3",
        "-m",
        "devclusterlib.inside",
    ]
    return subprocess.run(namespace.enter(settings, [*command, *arguments]), check=False).returncode


def _facts(settings: Settings) -> dict[str, object]:
    return {
        "name": settings.name,
        "pid": namespace.pid_of(settings),
        "directory": settings.directory,
        "checkout": settings.checkout,
        "registry": settings.registry,
        "s3_endpoint": settings.s3_endpoint,
        "ssh_port": settings.port("sshd"),
        "cgroup": settings.cgroup,
        "slurm_prefix": settings.slurm_prefix,
        "socket": "/run/cts/cts.sock",
        "work_dir": "/scratch/cts",
        "log_directory": "/var/log/devcluster",
    }


def _logs(settings: Settings, options: argparse.Namespace) -> int:
    path = f"/var/log/devcluster/{options.part}.log"
    tail = ["tail", "-n", "+1", *(["-F"] if options.follow else []), path]
    return subprocess.run(namespace.enter(settings, tail), check=False).returncode
