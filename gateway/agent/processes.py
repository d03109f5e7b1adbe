"""Ending a container whole, and what the kernel says about memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

_CGROUPS = Path("/sys/fs/cgroup")


class Process(NamedTuple):
    """A line of /proc: what proc_pid_stat(5) says."""

    pid: int
    name: str
    parent: int
    session: int


def processes(proc: Path = Path("/proc")) -> List[Process]:
    """List the processes of this node that can be seen."""
    found = []
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            text = (proc / entry.name / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        name, rest = (
            text[text.index("(") + 1 : text.rindex(")")],
            text[text.rindex(")") + 2 :].split(),
        )
        if rest[0] not in "ZX":
            found.append(Process(int(entry.name), name, int(rest[1]), int(rest[3])))
    return found


def kill_container(child: subprocess.Popen[bytes]) -> None:
    """Kill a container and everything in it; `child` is apptainer, the leader of a session.

    Killing apptainer's runtime would leave its FUSE process and mount behind. So the first process of
    the container dies: the kernel then ends all of its PID namespace (pid_namespaces(7)), and the
    runtime cleans up by itself. What is still there of the session after that is killed, too.
    """
    inits = [p.pid for p in processes() if p.parent == child.pid and p.name == "appinit"]
    for pid in inits:
        _kill(pid)
    if inits:
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            pass
        else:
            kill_session(child.pid)
            return
    kill_session(child.pid)


def kill_session(session: int) -> None:
    """Kill every process of a session, until there is none (bounded, should one fork on)."""
    for _ in range(20):
        members = [p.pid for p in processes() if p.session == session]
        if not members:
            return
        for pid in members:
            _kill(pid)
        time.sleep(0.02)  # what dies with much memory takes its time


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def prefer_in_oom(pid: int) -> None:
    """Have the kernel take a process and its children, not the agent, when memory runs out."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("900", encoding="ascii")
    except OSError:
        return


def oom_kills(proc: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> Optional[int]:
    """Return how many processes of this cgroup were killed for memory; None where nothing tells."""
    try:
        lines = proc.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    places: Dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(",") if controllers else ["unified"]:
            places[name] = path.lstrip("/")
    candidates = []
    if "memory" in places:
        candidates.append(root / "memory" / places["memory"] / "memory.oom_control")
    if "unified" in places:
        candidates.append(root / places["unified"] / "memory.events")
    for file in candidates:
        try:
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        except (OSError, ValueError):
            continue
    return None
