"""The command line's options and their help."""

from __future__ import annotations

import argparse
import signal

from devclusterlib import cgroups
from devclusterlib.settings import OSD_STORES, PORTS

_ABOUT = """\
A whole HPC site on this machine, real parts only: Slurm with accounting, Apptainer, OCI registries,
Ceph's S3, sshd, and the gateway installed from this checkout. Users: alice, bob, and ada (admin).

  deploy/devcluster up                                   bring it up (builds what is missing)
  deploy/devcluster exec --user alice -- cts jobs        run a command in it
  deploy/devcluster exec -- squeue                       the same as root
  deploy/devcluster restart slurmctld                    restart one part (see 'status' for their names)
  deploy/devcluster down                                 stop it; 'destroy' also removes its files
  deploy/devcluster --name two up --base-port 17200      a second one beside it
"""
_EXEC = """\
Run a command in the site. Standard input and output, the terminal, signals and the exit code are passed on.
Exit code 127: there is no such command; 126: it cannot be run; 125: this program could not run it."""


def parser() -> argparse.ArgumentParser:
    """Return the parser; the defaults that need files or variables are looked up later."""
    top = argparse.ArgumentParser(
        prog="deploy/devcluster",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--name", help="which cluster ($CTS_CLUSTER, test.cfg; dev)")
    top.add_argument(
        "--cache",
        help="directory for root file systems and clusters ($CTS_CACHE, test.cfg; ~/.cache/cts)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _up(commands.add_parser("up", help="bring the cluster up, building what is missing"))
    run = commands.add_parser(
        "exec", help="run a command in the site; its exit code is passed on", description=_EXEC
    )
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
    kill = commands.add_parser(
        "kill", help="send a part a signal; wait for its end when the signal is a deadly one"
    )
    kill.add_argument("part")
    kill.add_argument("--signal", default="KILL", type=_signal, help="name or number (KILL)")
    logs = commands.add_parser("logs", help="show the log of a part")
    logs.add_argument("part")
    logs.add_argument("-f", "--follow", action="store_true")
    commands.add_parser("env", help="where everything is, as JSON")
    commands.add_parser("down", help="stop the cluster")
    commands.add_parser(
        "destroy", help="stop the cluster and remove its files (root file system kept)"
    )
    return top


def _up(up: argparse.ArgumentParser) -> None:
    up.add_argument(
        "--base-port",
        type=int,
        help=f"first of the {PORTS} ports on loopback ($CTS_BASE_PORT, or as last time; 17100)",
    )
    up.add_argument(
        "--slurm-prefix",
        help="use the Slurm installed under this directory (as last time); 'debian': Debian's own",
    )
    up.add_argument(
        "--cgroup",
        choices=("auto", *cgroups.FLAVOURS),
        help="how jobs are held to their limits (as last time; auto: what the machine has)",
    )
    up.add_argument(
        "--osd-store",
        choices=tuple(OSD_STORES),
        help="where S3's objects are; those in a file outlive 'down' (as last time; memory)",
    )
    up.add_argument(
        "--mirror", help="Debian mirror for building the root file system (default: the client's)"
    )
    up.add_argument("--no-gateway", action="store_true", help="everything but the gateway")


def _signal(text: str) -> signal.Signals:
    try:
        if text.isdecimal():
            return signal.Signals(int(text))
        return signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"there is no signal {text!r}") from exc
