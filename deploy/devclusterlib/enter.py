"""Running a command in the site: its namespaces and cgroups, a user's identity, and the way back of signals and codes.

The parent stays on the host and the child goes in, so that whatever ends one ends the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devclusterlib import cgroups
from devclusterlib.settings import ClusterError, Settings

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_NAMESPACES = ("mnt", "uts", "ipc", "cgroup")
_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """A user of the site."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def identity(root: Path, user: str) -> Identity:
    """Look a user up in the site's own files, of which the host's name service knows nothing.

    Raises
    ------
    ClusterError
        When the site has no such user; names the ones with a home.
    """
    rows = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    row = next((row for row in rows if row[0] == user and len(row) == 7), None)
    if row is None:
        people = ["root", *(row[0] for row in rows if row[5:6] and row[5].startswith("/home/"))]
        raise ClusterError(f"the site has no user {user!r}; it has {', '.join(people)}")
    extra = [line.split(":") for line in (root / "etc/group").read_text().splitlines()]
    more = {int(g[2]) for g in extra if len(g) == 4 and user in g[3].split(",")}
    gid = int(row[3])
    return Identity(user, int(row[2]), gid, tuple(sorted(more | {gid})), row[5], row[6])


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or the signal that killed it."""

    code: int
    signal: int = 0

    @property
    def shell_code(self) -> int:
        """The code as a shell gives it."""
        return 128 + self.signal if self.signal else self.code


def run(
    settings: Settings,
    pid: int,
    argv: Sequence[str],
    user: str = "root",
    cwd: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command in the site whose init has this pid, with a clean environment, and wait for its end.

    Standard input, output and the terminal are the caller's. Code 127: there is no such command; 126: it cannot
    be run, or not in that directory.

    Raises
    ------
    ClusterError
        When the site has no such user.
    """
    who = identity(Path(f"/proc/{pid}/root"), user)
    environment = {
        "PATH": settings.search_path,
        "HOME": who.home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": who.shell,
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        **(extra or {}),
    }
    where = cwd or ("/" if user == "root" else who.home)
    handles = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in _NAMESPACES}
    own, children = (os.open(f"/proc/{whose}/ns/pid", os.O_RDONLY) for whose in ("self", pid))
    sys.stdout.flush()
    watched = {*_PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    _setns(children)  # counts for children only
    child = os.fork()
    if child == 0:
        code = NOT_EXECUTABLE
        try:
            cgroups.enter(settings.name, settings.cgroup)
            for handle in handles.values():
                _setns(handle)
            _become(who)
            os.chdir(where)
            os.umask(0o022)
            for number in (*watched, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            code = _execute(list(argv), environment)
        except OSError as exc:
            os.write(2, f"devcluster: exec: {exc.filename or argv[0]}: {exc.strerror}\n".encode())
        finally:
            os._exit(code)
    try:
        _setns(own)  # once the site is down, no process could be made in its namespace
        for handle in (own, children, *handles.values()):
            os.close(handle)
        return _wait(child, watched)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_as(ended: Ended) -> int:
    """End this process as the command ended, by the same signal where one killed it."""
    if ended.signal:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(ended.signal, signal.SIG_DFL)
        os.kill(os.getpid(), ended.signal)
    return ended.shell_code


def _setns(handle: int) -> None:
    if _libc.setns(handle, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "the site's namespaces")


def _become(who: Identity) -> None:
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _execute(argv: list[str], environment: Mapping[str, str]) -> int:
    """Replace this process by the command; return a code when that cannot be done."""
    name = argv[0]
    tries = [name] if "/" in name else [f"{d}/{name}" for d in environment["PATH"].split(":")]
    code = NOT_FOUND
    for path in tries:
        try:
            os.execve(path, argv, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            code, why = NOT_EXECUTABLE, exc.strerror
    text = f"{name}: {why}" if code == NOT_EXECUTABLE else f"{name}: no such command in the site"
    os.write(2, f"devcluster: exec: {text}\n".encode())
    return code


def _wait(child: int, watched: set[signal.Signals]) -> Ended:
    while True:
        got = signal.sigwaitinfo(watched)
        if got.si_signo != signal.SIGCHLD:
            # A terminal's Ctrl-C has gone to the child as well, which is in the same process group.
            if got.si_code <= 0:
                os.kill(child, got.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            continue
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
        elif os.WIFSIGNALED(status):
            return Ended(0, os.WTERMSIG(status))
        else:
            return Ended(os.WEXITSTATUS(status))
