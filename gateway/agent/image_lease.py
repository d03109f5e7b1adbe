"""Who converts an image: a lease beside it, which its holder renews, and which falls when it is not renewed.

No kernel lock: on a shared file system that may be refused (Lustre without `flock`), hold on one node alone (`localflock`, NFS
with `nolock`), or outlive a node that vanished (NFS 3) and a process that hangs. What is needed here is that of several link(2)
to one name one works, which NFS has, too, and the time of a file. docs/design.md says more.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

from .files import Say
from .mailbox import Stop

RENEWED = 5.0  # seconds between two signs of life
PATIENCE = 60.0  # seconds without one, by the clock of who waits
# Clocks of a cluster differ by less: munge, and Slurm with it, takes no credential that is five minutes off.
_SURELY = 360.0
_FIRST, _LONGEST = 0.2, 2.0  # seconds between two looks


class Leases:
    """The leases of one file, `.NAME.lease-1` and on; the highest one counts, and another is taken over by making the next.

    `patience` is how long one may go without a sign of life, `renewed` how often its holder gives one; seconds.
    """

    def __init__(self, file: Path, *, patience: float = PATIENCE, renewed: float = RENEWED) -> None:
        self._file = file
        self._patience = patience
        self._renewed = renewed
        self._pattern = re.compile(re.escape(f".{file.name}.lease-") + r"([1-9][0-9]{0,8})")

    def path(self, number: int) -> Path:
        """Return where a lease is."""
        return self._file.with_name(f".{self._file.name}.lease-{number}")

    def numbers(self) -> Tuple[int, ...]:
        """Return those that there are, the highest last."""
        found = (self._pattern.fullmatch(entry.name) for entry in os.scandir(self._file.parent))
        return tuple(sorted(int(match[1]) for match in found if match is not None))

    def take(self, done: Callable[[], bool], stop: Stop, say: Say) -> Optional[Lease]:
        """Wait until the lease is ours, or `done`, which makes it of no use: then None.

        Raises
        ------
        Stopped
            When an end was asked for.
        OSError
            When the directory cannot be written.
        """
        mine = self._file.with_name(f".{self._file.name}.lease-of-{_me()}")
        fd = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(f"{_here()} {os.getpid()} {_begun(str(os.getpid()))}")
            number = self._wait(mine, done, stop, say)
        finally:
            mine.unlink(missing_ok=True)
        return None if number is None else Lease(self, number, self._renewed)

    def _wait(self, mine: Path, done: Callable[[], bool], stop: Stop, say: Say) -> Optional[int]:
        seen: Dict[int, Tuple[float, float]] = {}  # its time, and when that was new to us
        pause = _FIRST
        while not done():
            highest = (0, *self.numbers())[-1]
            why = self._dead(highest, mine, seen) if highest else ""
            if why is not None:
                if why:
                    say(f"the lease on {self._file.name} is taken over: {why}")
                if _linked(mine, self.path(highest + 1)):
                    return highest + 1
            stop.pause(pause)
            pause = min(_LONGEST, pause * 1.3)
        return None

    def _dead(self, number: int, mine: Path, seen: Dict[int, Tuple[float, float]]) -> Optional[str]:
        """Return why a lease is nobody's any more; None while it may be somebody's."""
        try:
            # Over NFS it is the opening that asks the server.
            with self.path(number).open(encoding="ascii", errors="replace") as file:
                changed = os.fstat(file.fileno()).st_mtime
                words = file.read(500).split()
        except FileNotFoundError:
            return None  # given back: the next look tells
        now = time.monotonic()
        if seen.get(number, (None,))[0] != changed:
            seen[number] = changed, now
        if len(words) == 3 and words[0] == _here() and _begun(words[1]) != words[2]:
            return "its holder on this node is dead"
        silent = now - seen[number][1]
        if silent >= self._patience:
            return f"its holder gave no sign of life for {silent:.0f} s"
        os.utime(mine)
        age = mine.stat().st_mtime - changed
        if age >= self._patience + _SURELY:
            return f"its holder gave no sign of life for {age:.0f} s"
        return None


class Lease:
    """A lease that is ours: renewed by a thread until it is given back."""

    def __init__(self, leases: Leases, number: int, renewed: float) -> None:
        self._leases = leases
        self._number = number
        self._renewed = renewed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether somebody took us for dead meanwhile."""
        return (0, *self._leases.numbers())[-1] != self._number

    def _renew(self) -> None:
        while not self._ended.wait(self._renewed):
            with contextlib.suppress(OSError):
                os.utime(self._leases.path(self._number))

    def release(self) -> None:
        """Give it back, and those before it with it."""
        self._ended.set()
        for number in self._leases.numbers():
            if number <= self._number:
                self._leases.path(number).unlink(missing_ok=True)


def _linked(mine: Path, path: Path) -> bool:
    """Give a file a second name, if nobody has that; tell whether it worked."""
    try:
        os.link(mine, path)
    except FileExistsError:
        # An answer of an NFS server that was lost is asked for again, and then the name is there: two names tell.
        return mine.stat().st_nlink == 2
    except OSError:
        try:  # a file system without hard links
            with path.open("x", encoding="ascii") as file:
                file.write(mine.read_text(encoding="ascii"))
        except FileExistsError:
            return False
    return True


def _me() -> str:
    return f"{os.uname().nodename}-{os.getpid()}-{time.monotonic_ns()}"


def _here() -> str:
    """Return a name of this run of this node, and of what process ids mean on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return _me()  # nobody else's: time alone tells


def _begun(pid: str) -> str:
    """Return when a process of this node began, in ticks since its boot (proc_pid_stat(5)); `-` when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text[text.rindex(")") + 2 :].split()[19]
    except (OSError, ValueError, IndexError):
        return "-"
