"""Ending a container whole, and what the kernel says about memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

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


class Effort:
    """What the processes of a session do, by their CPU time and the bytes that they read and write: whether it is anything."""

    _EVERY, _BYTES, _SECONDS = 1.0, 64 << 10, 1.0  # less than that is what waiting costs

    def __init__(self, session: int, now: float) -> None:
        self._session = session
        self._looked = self._since = now
        self._seen: Dict[int, Tuple[float, int]] = {}
        self._cpu = 0.0
        self._bytes = 0

    def none_for(self, seconds: float, now: float) -> bool:
        """Tell whether they have done nothing for so long; asked again and again, it looks once a second."""
        if now - self._looked < min(self._EVERY, seconds / 4):
            return False
        self._looked = now
        seen = {p.pid: _done(p.pid) for p in processes() if p.session == self._session}
        for pid, (cpu, moved) in seen.items():
            before = self._seen.get(pid, (0.0, 0))
            self._cpu += cpu - before[0]
            self._bytes += moved - before[1]
        self._seen = seen
        if self._cpu >= self._SECONDS or self._bytes >= self._BYTES:
            self._cpu, self._bytes, self._since = 0.0, 0, now
        return now - self._since >= seconds


def _done(pid: int) -> Tuple[float, int]:
    """Return the CPU time of a process, seconds, and the bytes that it has read and written, as far as that may be known."""
    cpu, moved = 0.0, 0
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        words = text[text.rindex(")") + 2 :].split()
        cpu = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
        moved = sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))
    except (OSError, ValueError):
        pass  # it ended meanwhile, or is another user's by its rights
    return cpu, moved


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
