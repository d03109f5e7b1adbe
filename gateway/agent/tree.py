"""Writing what an archive holds below one directory, and nowhere else, within bounds.

An archive is anybody's: no member may lead out of the directory, be a device, or fill the disk. Every
directory on the way to a member is opened by its name in the one above, following no link, so that
whatever lies there a write ends inside.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Dict, Iterable, NamedTuple, Tuple

from .mailbox import Stop

MOST_NAME = 4096  # bytes (PATH_MAX of Linux)
MOST_DEPTH = 100  # directories in one another
_LOOK_AT_DISK = 256 << 20  # bytes after which the free space is looked at again
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """The archive is not unpacked; the text is one sentence for admins."""


class Member(NamedTuple):
    """A member as its archive names it.

    `kind` is file, directory, symlink or hardlink; anything else is a word for what is refused.
    `target` is of links; `size` in bytes, of files.
    """

    name: bytes
    kind: str
    size: int = 0
    mode: int = 0o644
    target: bytes = b""


class Bounds(NamedTuple):
    """How much may be unpacked: bytes, members (directories included), bytes of the disk left free."""

    bytes: int
    files: int
    reserve: int = 1 << 30


def shown(name: bytes) -> str:
    """Return a name as it can stand in a sentence."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 200 else f"{text[:200]}…"


class Tree:
    """The directory `root`, which exists and is empty."""

    def __init__(self, root: Path, bounds: Bounds, stop: Stop) -> None:
        self._root = root
        self._bounds = bounds
        self._stop = stop
        self._fd = os.open(root, _DIRECTORY)
        self._parent: Tuple[Tuple[str, ...], int] = ((), self._fd)
        self._left_to_look = 0
        self.bytes = 0
        self.count = 0

    def close(self) -> None:
        """Give the descriptors back."""
        for handle in {self._parent[1], self._fd}:
            os.close(handle)

    def add(self, member: Member, content: Iterable[bytes]) -> None:
        """Write one member.

        Raises
        ------
        Refused
            When it breaks a rule; it is named.
        OSError
            When the disk does not take it.
        Stopped
            When an end was asked for.
        """
        self._stop.check()
        what = f"the member {shown(member.name)}"
        if member.kind not in ("file", "directory", "symlink", "hardlink"):
            raise Refused(
                f"{what} is {member.kind}; only files, directories and links are unpacked"
            )
        parts = inside(member.name, what)
        if not parts:
            if member.kind == "directory":
                return  # "./", the directory itself
            raise Refused(f"{what} has no name of its own")
        parent = self._open(parts[:-1], what)
        if member.kind == "directory":
            self._directory(parent, parts[-1], what)
        elif member.kind == "symlink":
            target = self._link_target(member.target, len(parts) - 1, what)
            self._count()
            with _Told(what):
                os.symlink(target, parts[-1], dir_fd=parent)
        elif member.kind == "hardlink":
            self._hard_link(member.target, parts[-1], parent, what)
        else:
            self._file(member, parts[-1], parent, content, what)

    def _count(self) -> None:
        self.count += 1
        if self.count > self._bounds.files:
            raise Refused(
                f"the archive has more than {self._bounds.files} members (refdata_max_files of the site)"
            )

    def _directory(self, parent: int, name: str, what: str) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            self._count()
            with _Told(what):
                os.mkdir(name, 0o700, dir_fd=parent)
            return
        except OSError as exc:
            raise _unfit(what, exc) from exc
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(f"{what} is a directory where the archive has {_kind(found)} already")

    def _open(self, parts: Tuple[str, ...], what: str) -> int:
        """Open the directory of a member, making what is missing; the last one stays open."""
        if self._parent[0] == parts:
            return self._parent[1]
        if len(parts) > MOST_DEPTH:
            raise Refused(f"{what} is more than {MOST_DEPTH} directories deep")
        handle = os.dup(self._fd)
        try:
            for name in parts:
                self._directory(handle, name, f"{what}: {name!r}")
                below = os.open(name, _DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = below
        except BaseException:
            os.close(handle)
            raise
        if self._parent[1] != self._fd:
            os.close(self._parent[1])
        self._parent = (parts, handle)
        return handle

    @staticmethod
    def _link_target(target: bytes, depth: int, what: str) -> str:
        """Check where a symbolic link leads.

        `..` is taken at the beginning alone, where it means the real directories above the link. Then
        no chain of links leads out: each stays inside from wherever it stands.
        """
        says = f"{what} is a link to {shown(target)}"
        text = _utf8(target, says)
        if text.startswith("/"):
            raise Refused(f"{says}, out of its directory: links must be relative")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        ups = 0
        while ups < len(parts) and parts[ups] == "..":
            ups += 1
        if ups > depth:
            raise Refused(f"{says}, out of the directory that is unpacked into")
        if ".." in parts[ups:]:
            raise Refused(f"{says}, with '..' after a name, which may lead anywhere")
        return "/".join(parts) or "."

    def _hard_link(self, target: bytes, name: str, parent: int, what: str) -> None:
        says = f"{what} is a hard link to {shown(target)}"
        parts = inside(target, says)
        if not parts:
            raise Refused(f"{says}, which is no file")
        handle = os.dup(self._fd)
        try:
            for part in parts[:-1]:
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=handle)
                except OSError as exc:
                    raise Refused(f"{says}, which is no file of the archive") from exc
                os.close(handle)
                handle = below
            try:
                found = os.stat(parts[-1], dir_fd=handle, follow_symlinks=False)
            except OSError as exc:
                raise Refused(f"{says}, which is no file of the archive before it") from exc
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{says}, which is {_kind(found)}")
            self._count()
            with _Told(what):
                os.link(
                    parts[-1], name, src_dir_fd=handle, dst_dir_fd=parent, follow_symlinks=False
                )
        finally:
            os.close(handle)

    def _file(
        self, member: Member, name: str, parent: int, content: Iterable[bytes], what: str
    ) -> None:
        self._room(member.size)  # before a byte of it is written
        self._count()
        with _Told(what):
            handle = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            for data in content:
                self._stop.check()
                self._room(len(data))
                self._left_to_look -= len(data)
                self.bytes += len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
            os.fchmod(handle, 0o555 if member.mode & 0o111 else 0o444)
        finally:
            os.close(handle)

    def _room(self, size: int) -> None:
        if self.bytes + size > self._bounds.bytes:
            raise Refused(
                f"unpacked, the archive has more than {self._bounds.bytes} bytes (refdata_max_size of the site)"
            )
        if size > self._left_to_look:
            disk = os.fstatvfs(self._fd)
            free = disk.f_bavail * disk.f_frsize - self._bounds.reserve
            if size > free:
                raise Refused(
                    f"the site's disk would be full: unpacked, the archive has more than "
                    f"{self.bytes + max(free, 0)} bytes"
                )
            self._left_to_look = min(_LOOK_AT_DISK, free)

    def seal(self) -> None:
        """Make all directories read-only, and have the file system keep everything.

        Raises
        ------
        Refused
            When there is nothing.
        OSError
            When the disk did not take it all.
        """
        if not self.count:
            raise Refused("the archive holds nothing")
        for _, _, _, handle in os.fwalk(".", topdown=False, dir_fd=self._fd):
            self._stop.check()
            os.fchmod(handle, 0o555)
        sync(self._fd)


def inside(name: bytes, what: str) -> Tuple[str, ...]:
    """Return the parts of a path that stays below its beginning; none for the beginning itself.

    Raises
    ------
    Refused
        When it is absolute, has `..`, is no UTF-8 or too long.
    """
    if len(name) > MOST_NAME:
        raise Refused(f"{what} has a name of {len(name)} bytes, {MOST_NAME} are taken")
    text = _utf8(name, what)
    if text.startswith("/"):
        raise Refused(f"{what} has an absolute path; names must be relative")
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused(f"{what} has '..' in its path, which leads out of its directory")
    return parts


def sync(handle: int) -> None:
    """Have a file system write all that was written to it: one call, not one for each of a million files.

    Raises
    ------
    OSError
        When it failed.
    """
    import ctypes  # noqa: PLC0415 - for this alone

    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        os.sync()
    elif function(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _utf8(name: bytes, what: str) -> str:
    if b"\0" in name:
        raise Refused(f"{what} has a zero byte in its name")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Refused(f"{what} has a name that is not UTF-8") from exc


class _Told:
    """Say of errors that are a member's fault which member it is."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, exc: object, trace: object) -> None:
        if isinstance(exc, FileExistsError):
            raise Refused(
                f"{self._what} is in the archive twice, or in the place of another"
            ) from exc
        if isinstance(exc, OSError):
            raise _unfit(self._what, exc) from exc


def _unfit(what: str, exc: OSError) -> Exception:
    import errno  # noqa: PLC0415

    if exc.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EMLINK, errno.EPERM):
        return Refused(f"{what} cannot be on the site's disk: {exc.strerror}")
    return exc


_KINDS: Dict[int, str] = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
}


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
