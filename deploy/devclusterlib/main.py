"""The commands of the dev cluster, on the host."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devclusterlib import enter, inside, namespace, site
from devclusterlib.checks import root
from devclusterlib.lock import locked
from devclusterlib.options import parser
from devclusterlib.settings import ClusterError, Settings, cache_directory, cluster_name
from devclusterlib.up import up

OWN_TROUBLE_OF_EXEC = 125
_CHANGING = ("up", "start", "stop", "restart", "kill", "down", "destroy")
Command = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 (125 from `exec`) and one line on standard error when it cannot be done."""
    options = parser().parse_args(arguments)
    try:
        root()
        name, cache = cluster_name(options.name), cache_directory(options.cache)
        directory = cache / "clusters" / name
        if options.command not in _CHANGING:
            return _dispatch(options, name, cache)
        if options.command != "up" and not directory.is_dir():
            raise _unknown(name, cache)
        with locked(cache / "clusters" / f".{name}.lock", f"the cluster {name!r}"):
            return _dispatch(options, name, cache)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ClusterError, OSError) as exc:
        print(f"devcluster: {exc}", file=sys.stderr)
        return OWN_TROUBLE_OF_EXEC if options.command == "exec" else 1
    except KeyboardInterrupt:
        return 130


def _dispatch(options: argparse.Namespace, name: str, cache: Path) -> int:
    directory = cache / "clusters" / name
    if options.command == "destroy":
        return _destroy(name, cache, directory)
    kept = Settings.load(directory / "settings.json")
    if options.command == "up":
        return up(options, name, cache, kept)
    if kept is None:
        raise _unknown(name, cache)
    return _COMMANDS[options.command](kept, options)


def _unknown(name: str, cache: Path) -> ClusterError:
    return ClusterError(
        f"there is no cluster {name!r} below {cache}; '{site.how(name)} up' makes it"
    )


def _destroy(name: str, cache: Path, directory: Path) -> int:
    settings = Settings(name, str(cache), str(directory), 0, None, "none")
    was = namespace.destroy(settings)
    directory.with_name(f".{name}.lock").unlink(missing_ok=True)
    print(f"{name}: {'stopped' if was else 'was not up'}, files removed")
    return 0


def _down(settings: Settings, options: argparse.Namespace) -> int:
    was = site.stop(settings)
    print(f"{settings.name}: {'stopped' if was else 'was not up'}")
    return 0


def _exec(settings: Settings, options: argparse.Namespace) -> int:
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise ClusterError("exec: which command? deploy/devcluster exec [--user NAME] -- COMMAND …")
    pid = site.pid(settings)
    return enter.end_as(enter.run(settings, pid, argv, options.user, options.cwd))


def _status(settings: Settings, options: argparse.Namespace) -> int:
    return site.run_inside(settings, "status", *(["--json"] if options.json else []))


def _on_part(settings: Settings, options: argparse.Namespace) -> int:
    return site.run_inside(settings, options.command, _part(settings, options))


def _kill(settings: Settings, options: argparse.Namespace) -> int:
    return site.run_inside(settings, "kill", _part(settings, options), options.signal.name)


def _logs(settings: Settings, options: argparse.Namespace) -> int:
    path = f"/var/log/devcluster/{_part(settings, options)}.log"
    tail = ["tail", "-n", "+1", *(["-F"] if options.follow else []), path]
    return enter.end_as(enter.run(settings, site.pid(settings), tail))


def _part(settings: Settings, options: argparse.Namespace) -> str:
    known = [part.name for part in inside.all_parts(settings)]
    if options.part not in known:
        raise ClusterError(f"there is no part {options.part!r}; the parts are {', '.join(known)}")
    return str(options.part)


def _env(settings: Settings, options: argparse.Namespace) -> int:
    facts = {
        "name": settings.name,
        "pid": namespace.pid_of(settings),
        "cache": settings.cache,
        "directory": settings.directory,
        "checkout": settings.checkout,
        "registry": settings.registry,
        "private_registry": settings.private_registry,
        "s3_endpoint": settings.s3_endpoint,
        "store_url": settings.store_url,
        "slurmrestd": settings.slurmrestd_url,
        "ssh_port": settings.port("sshd"),
        "cgroup": settings.cgroup,
        "slurm_prefix": settings.slurm_prefix,
        "socket": "/run/cts/cts.sock",
        "url": settings.gateway_url,
        "ca_file": "/etc/ssl/devcluster/ca.pem",
        "work_dir": "/scratch/cts",
        "log_directory": "/var/log/devcluster",
    }
    print(json.dumps(facts, indent=1))
    return 0


_COMMANDS: dict[str, Command] = {
    "down": _down,
    "exec": _exec,
    "env": _env,
    "logs": _logs,
    "status": _status,
    "start": _on_part,
    "stop": _on_part,
    "restart": _on_part,
    "kill": _kill,
}
