"""What a container left in its output directory: which files, and whether they may be uploaded."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a link to a directory",
}
_MOST_LINKS = 40


class OutputError(Exception):
    """The output directory holds what cannot be uploaded; the text names it."""


class Found(NamedTuple):
    """An output: its name, the regular file that is read, and what tells whether that changes."""

    path: str
    real: Path
    size: int
    stamp: Tuple[int, int, int]


def stamp(found: os.stat_result) -> Tuple[int, int, int]:
    """Return what changes when a file does: size, modification time, inode."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def scan(root: Path, mount_point: str) -> List[Found]:
    """List the outputs, sorted by name.

    Raises
    ------
    OutputError
        For anything but regular files and links to regular files inside (docs/node-protocol.md).
    """
    real_root = root.resolve()
    names = list(_names(real_root, ()))  # of all first: links may lead anywhere
    found = [_judge(real_root, name, mount_point) for name in names]
    return sorted(found, key=lambda one: one.path)


def _names(folder: Path, parents: Tuple[str, ...]) -> Iterator[Tuple[str, ...]]:
    if folder.lstat().st_mode & 0o500 != 0o500:
        folder.chmod(0o700)  # ours, but the container took the owner's rights away
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        name = (*parents, entry.name)
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            shown = ascii(os.fsencode("/".join(name)))[1:]
            raise OutputError(f"the name of the output {shown} is not UTF-8") from None
        if entry.is_dir(follow_symlinks=False):
            yield from _names(Path(entry.path), name)
        else:
            yield name


def _judge(root: Path, parts: Tuple[str, ...], mount_point: str) -> Found:
    path = "/".join(parts)
    real = root.joinpath(*_follow(root, parts, mount_point))
    try:
        found = real.lstat()
    except OSError:
        raise OutputError(f"the output {path!r} is a link that leads nowhere") from None
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise OutputError(f"the output {path!r} is {_KINDS.get(kind, 'no regular file')}")
    if not found.st_mode & stat.S_IRUSR:
        real.chmod(0o600)
        found = real.lstat()
    return Found(path, real, found.st_size, stamp(found))


def _follow(root: Path, parts: Tuple[str, ...], mount_point: str) -> List[str]:
    """Resolve links as the container saw them: the root is its mount point, nothing is above it."""
    path = "/".join(parts)
    done: List[str] = []
    left = list(parts)
    links = 0
    mount = [p for p in mount_point.split("/") if p]
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                raise OutputError(f"the output {path!r} is a link out of the output directory")
            done.pop()
            continue
        here = root.joinpath(*done, part)
        if not here.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OutputError(f"the output {path!r} is a link in a circle")
        target = here.readlink()
        pieces = os.fspath(target).split("/")
        if target.is_absolute():
            pieces = [p for p in pieces if p not in ("", ".")]
            if pieces[: len(mount)] != mount:
                raise OutputError(f"the output {path!r} is a link out of the output directory")
            pieces, done = pieces[len(mount) :], []
        left = pieces + left
    return done
