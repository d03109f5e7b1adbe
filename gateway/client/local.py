"""Files of this machine: what is to be uploaded, and where what is downloaded may be put."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from gateway.agent.outputs import Found, stamp


class TransferError(Exception):
    """A file could not be moved; the text is for the user."""


def walk(path: Path, target: str) -> Iterator[Found]:
    """Yield the files at a path, named by the objects that they shall be: the file, or all below a directory under its name.

    As with `cp -r`, what is in `.` goes right below the target. Links are followed to files, not to directories.

    Raises
    ------
    TransferError
        For what is not there, cannot be read, or is neither file nor directory.
    """
    base = "/".join(part for part in (target.rstrip("/"), path.name) if part)
    if not path.is_dir():
        yield _found(path, base)
        return

    def trouble(exc: OSError) -> None:
        raise TransferError(f"{exc.filename} cannot be read: {exc.strerror}") from exc

    for folder, inner, names in os.walk(path, onerror=trouble):
        inner.sort()
        for name in inner:
            if Path(folder, name).is_symlink():
                raise TransferError(
                    f"{folder}/{name} is a link to a directory; name that directory itself, or leave the link out"
                )
        below = base / PurePosixPath(folder).relative_to(path)
        for name in sorted(names):
            yield _found(Path(folder, name), str(below / name))


def _found(path: Path, name: str) -> Found:
    try:
        real = path.resolve(strict=True)
        now = real.stat()
    except (OSError, RuntimeError) as exc:  # the latter for links in a circle, before Python 3.13
        why = exc.strerror if isinstance(exc, OSError) else "its links go in a circle"
        raise TransferError(f"{path} cannot be read: {why}") from exc
    if not stat.S_ISREG(now.st_mode):
        raise TransferError(f"{path} is no regular file; leave it out")
    return Found(name, real, now.st_size, stamp(now))


def place(root: Path, name: str) -> Path:
    """Return where a file of that name belongs below a directory, wherever the name would lead.

    Raises
    ------
    TransferError
        When it would lie elsewhere, by its name or by a link that is there, or where no file can be.
    """
    parts = name.split("/")
    if set(parts) & {"", ".", ".."} or "\0" in name:
        raise TransferError(f"{name!r} cannot be the name of a file below {root}")
    here = root
    for part in parts[:-1]:
        here /= part
        if here.is_symlink():
            raise TransferError(
                f"{name!r} would lie behind the link {here}; take another directory"
            )
        if here.exists() and not here.is_dir():
            raise TransferError(f"{name!r} cannot be written: {here} is a file")
    here /= parts[-1]
    if here.is_dir() and not here.is_symlink():
        raise TransferError(f"{name!r} cannot be written: {here} is a directory")
    return here


def apart(names: Sequence[str]) -> None:
    """See that no file lies where another needs a directory, which S3 allows and a file system does not.

    Raises
    ------
    TransferError
        Naming both.
    """
    known = set(names)
    for name in names:
        for parent in PurePosixPath(name).parents:
            if str(parent) in known:
                raise TransferError(
                    f"{str(parent)!r} and {name!r} cannot both be files; take them one after the other, to two directories"
                )


def mode_in(folder: Path) -> int:
    """Return the mode that a new file gets there: the umask cannot be asked for without being changed."""
    probe = folder / "probe"
    probe.touch()
    found = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return found


def once(files: Iterable[Found]) -> list[Found]:
    """List files of which each shall be another object.

    Raises
    ------
    TransferError
        Naming the first two that would be one.
    """
    seen: dict[str, Found] = {}
    for one in files:
        if one.path in seen:
            raise TransferError(f"{seen[one.path].real} and {one.real} would both be {one.path}")
        seen[one.path] = one
    return list(seen.values())
