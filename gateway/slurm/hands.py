"""A site's hands: the few commands and file operations that the gateway does at a site.

`LocalHands` does them in this process. `gateway.slurm.serve` runs a `LocalHands` in a child process of
another user, so that jobs run as somebody who cannot read the daemon's secrets. Every path is absolute and
made by the gateway; nothing here goes through a shell.

What lies in a work directory was written by the jobs' user, who may be anybody once a container has been broken out of.
So sizes are bounded, and what is no regular file counts as missing: no link, pipe or directory leads the gateway elsewhere,
makes it wait or fail.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.errors import SiteError
from gateway.slurm.trees import make_directories, remove_tree

_PIECE = 1 << 20
_LARGEST = 8 << 20  # bytes of one scanned file
_SCAN = 32 << 20  # bytes of one scan


@dataclass(frozen=True)
class CommandResult:
    """What a command gave: exit code (negative: died of that signal), and its two outputs as text."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Entry:
    """A regular file of a directory: its size in bytes, its times of access and of change in seconds since 1970 (UTC)."""

    name: str
    size: int
    accessed: float
    changed: float


class Hands(Protocol):
    """What the gateway needs done at a site. All raise SiteError when it cannot be done or is not known."""

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        """Run a command with a small, clean environment; SiteError when `timeout` seconds pass.

        A `guarded` command holds the work directory's lock until it has ended, whatever becomes of the
        gateway meanwhile: who takes that lock next knows that no such command is still running.
        """

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write each file (path, content) with mode 0600, whole or not at all; parents are made, 0700."""

    def read_file(self, path: str, offset: int = 0, length: int = 1 << 20) -> bytes | None:
        """Read at most `length` bytes (1 MiB at most) from `offset`; None when there is no such file."""

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None when there is none."""

    def scan(self, directory: str, limit: int) -> list[tuple[str, bytes]]:
        """Return name and content of at most `limit` files, least name first; names with a dot first are left out.

        At most 32 MiB at once. What is no regular file, or is larger than 8 MiB, comes without content: the caller
        refuses and removes it like any other nonsense.
        """

    def listing(self, directory: str) -> list[Entry]:
        """Return the regular files of a directory by name, those with a dot first among them; none where it is not there."""

    def sha256(self, path: str) -> str | None:
        """Return the SHA-256 of a file, hexadecimal, without that counting as an access; None when there is no such file."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files and whole directories; what is not there is no error. All are tried, whatever fails."""


class LocalHands:
    """The hands in this process, as this user.

    Parameters
    ----------
    work_dir
        The site's work directory; made (0700) when missing.
    exclusive
        Whether its lock is taken, and kept until `close`. Without it, beside a daemon that runs, there are no
        guarded commands: nothing can be submitted.

    Raises
    ------
    SiteError
        When the directory cannot be used, or its lock is another's.
    """

    def __init__(self, work_dir: str, *, exclusive: bool = True) -> None:
        self._lock: int | None = None
        try:
            make_directories(Path(work_dir))
            if exclusive:
                self._lock = _locked(f"{work_dir}/.lock")
        except BlockingIOError as exc:
            raise SiteError(
                f"{work_dir} is in use: another gateway, or an sbatch that an earlier one had started, holds its lock"
            ) from exc
        except OSError as exc:
            raise SiteError(f"cannot use the work directory {work_dir}: {exc.strerror}") from exc

    def close(self) -> None:
        """Give the lock back (an sbatch that still runs keeps it)."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        """See `Hands.run`."""
        name = Path(argv[0]).name
        lock = self._lock
        if guarded and lock is None:
            raise SiteError(
                f"{name} is run only by the gateway that holds the work directory's lock"
            )
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                env=clean_environment(),
                cwd="/",
                pass_fds=(lock,) if guarded and lock is not None else (),
                start_new_session=True,  # a terminal's Ctrl-C ends the gateway, not a submission under way
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            said = _text(exc.stderr or b"").strip().splitlines()
            raise SiteError(
                f"{name} gave no answer in {timeout:g} s{f': {said[-1]}' if said else ''}"
            ) from exc
        except OSError as exc:
            raise SiteError(f"cannot run {argv[0]}: {exc.strerror}") from exc
        return CommandResult(done.returncode, _text(done.stdout), _text(done.stderr))

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See `Hands.write_files`."""
        for path, data in files:
            try:
                _write(Path(path), data)
            except OSError as exc:
                raise SiteError(f"cannot write {path}: {exc.strerror}") from exc

    def read_file(self, path: str, offset: int = 0, length: int = _PIECE) -> bytes | None:
        """See `Hands.read_file`."""
        try:
            fd = _opened(path)
            if fd is None:
                return None
            try:
                return os.pread(fd, max(0, min(length, _PIECE)), offset)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise SiteError(f"cannot read {path}: {exc.strerror}") from exc

    def size(self, path: str) -> int | None:
        """See `Hands.size`."""
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise SiteError(f"cannot look at {path}: {exc.strerror}") from exc
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def scan(self, directory: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Hands.scan`."""
        try:
            names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise SiteError(f"cannot list {directory}: {exc.strerror}") from exc
        found: list[tuple[str, bytes]] = []
        room = _SCAN
        for name in names:
            if len(found) >= limit or room <= 0:
                break
            try:
                data = _whole(f"{directory}/{name}")
            except OSError:  # one that cannot be read now holds up no other
                continue
            found.append((name, data))
            room -= len(data)
        return found

    def listing(self, directory: str) -> list[Entry]:
        """See `Hands.listing`."""
        found = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        is_ = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # it went meanwhile
                    if stat.S_ISREG(is_.st_mode):
                        found.append(Entry(entry.name, is_.st_size, is_.st_atime, is_.st_mtime))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise SiteError(f"cannot list {directory}: {exc.strerror}") from exc
        return sorted(found, key=lambda entry: entry.name)

    def sha256(self, path: str) -> str | None:
        """See `Hands.sha256`."""
        try:
            fd = _opened(path, os.O_NOATIME)
            if fd is None:
                return None
            digest = hashlib.sha256()
            with os.fdopen(fd, "rb", buffering=0) as file:
                while data := file.read(_PIECE):
                    digest.update(data)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise SiteError(f"cannot read {path}: {exc.strerror}") from exc
        return digest.hexdigest()

    def remove(self, paths: Sequence[str]) -> None:
        """See `Hands.remove`."""
        failed: SiteError | None = None
        for path in paths:
            try:
                remove_tree(path)
            except OSError as exc:
                failed = failed or SiteError(f"cannot remove {path}: {exc.strerror}")
        if failed is not None:
            raise failed


def _locked(path: str) -> int:
    """Open a file and lock it without waiting; BlockingIOError when another process holds it."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def clean_environment() -> Mapping[str, str]:
    """Return the environment that commands at a site get: nothing of the daemon's leaks into a job."""
    kept = {
        name: os.environ[name]
        for name in ("HOME", "USER", "LOGNAME", "SLURM_CONF")
        if name in os.environ
    }
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "TZ": "UTC", **kept}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _opened(path: str, flags: int = 0) -> int | None:
    """Open a regular file for reading, following no link at its end; None for anything else."""
    if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device may act, so look first
        return None
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _whole(path: str) -> bytes:
    fd = _opened(path)
    if fd is None:
        return b""
    with os.fdopen(fd, "rb") as file:
        data = file.read(_LARGEST + 1)
    return data if len(data) <= _LARGEST else b""


def _write(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it.

    It is not synced to disk. A power cut can lose only what is made again or asked for again: the files of a job are
    written anew at every attempt to submit it, nodes ask again for grants that do not come. Closing (NFS) or a reader on
    another machine (Lustre) brings it to the server. What must outlive a power cut is in the database.
    """
    make_directories(path.parent)
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
