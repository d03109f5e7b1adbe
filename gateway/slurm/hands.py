"""A site's hands: the few commands and file operations that the gateway does at a site.

`LocalHands` does them in this process. `gateway.slurm.helper` runs a `LocalHands` in a child process of
another user, so that jobs run as somebody who cannot read the daemon's secrets. Every path is absolute and
made by the gateway; nothing here goes through a shell.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.errors import SiteError


@dataclass(frozen=True)
class CommandResult:
    """What a command gave: exit code (negative: died of that signal), and its two outputs as text."""

    returncode: int
    stdout: str
    stderr: str


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
        """Return name and content of at most `limit` files, oldest name first; names with a dot first are left out."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files and whole directories; what is not there is no error."""


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
            Path(work_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
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
        lock = self._lock
        if guarded and lock is None:
            raise SiteError(
                f"{Path(argv[0]).name} is run only by the gateway that holds the work directory's lock"
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
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise SiteError(f"{Path(argv[0]).name} gave no answer in {timeout:g} s") from exc
        except OSError as exc:
            raise SiteError(f"cannot run {argv[0]}: {exc.strerror}") from exc
        return CommandResult(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See `Hands.write_files`."""
        for path, data in files:
            try:
                _write(Path(path), data)
            except OSError as exc:
                raise SiteError(f"cannot write {path}: {exc.strerror}") from exc

    def read_file(self, path: str, offset: int = 0, length: int = 1 << 20) -> bytes | None:
        """See `Hands.read_file`."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise SiteError(f"cannot read {path}: {exc.strerror}") from exc
        try:
            return os.pread(fd, min(length, 1 << 20), offset)
        except OSError as exc:
            raise SiteError(f"cannot read {path}: {exc.strerror}") from exc
        finally:
            os.close(fd)

    def size(self, path: str) -> int | None:
        """See `Hands.size`."""
        try:
            return os.lstat(path).st_size
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise SiteError(f"cannot look at {path}: {exc.strerror}") from exc

    def scan(self, directory: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Hands.scan`."""
        try:
            names = sorted(name for name in os.listdir(directory) if not name.startswith("."))[
                :limit
            ]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise SiteError(f"cannot list {directory}: {exc.strerror}") from exc
        found = []
        for name in names:
            data = self._whole(f"{directory}/{name}")
            if data is not None:
                found.append((name, data))
        return found

    def _whole(self, path: str, most: int = 8 << 20) -> bytes | None:
        pieces: list[bytes] = []
        total = 0
        while total < most:
            piece = self.read_file(path, total)
            if piece is None:
                return None
            if not piece:
                break
            pieces.append(piece)
            total += len(piece)
        return b"".join(pieces)

    def remove(self, paths: Sequence[str]) -> None:
        """See `Hands.remove`."""
        for path in paths:
            try:
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise SiteError(f"cannot remove {path}: {exc.strerror}") from exc


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


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
