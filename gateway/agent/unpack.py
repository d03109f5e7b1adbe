"""Unpacking an archive of reference data: the kinds that there are, and what reads each.

`.tar.zst` is read by Python's own module where Python has one (3.14), else by the program `zstd`: nodes have
one or the other, and the standard library before 3.14 knows no Zstandard. The module goes first, because it
needs no process and no pipe.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Tuple

from .mailbox import Stop
from .tar import Source, Tar
from .tree import Bounds, Member, Refused, Tree
from .zip import Zip

_CHUNK = 1 << 20
_PLACES = "/usr/local/bin:/usr/bin:/bin"
_SAID = 500  # characters of a program's message


def zstd_program() -> Optional[str]:
    """Return the program that unpacks Zstandard."""
    return shutil.which("zstd", path=_PLACES)


def unpack(
    archive: Path,
    kind: str,
    name: str,
    target: Path,
    bounds: Bounds,
    stop: Stop,
    program: Callable[[], Optional[str]] = zstd_program,
) -> Tuple[int, int]:
    """Unpack an archive into an empty directory; return the bytes and the members written.

    Parameters
    ----------
    kind
        tar, tar.gz, tar.zst, zip, gz (one file) or file (not packed).
    name
        What the one file of `gz` and `file` is to be called.

    Raises
    ------
    Refused
        When it breaks a rule, is broken, or this node cannot unpack it.
    OSError, Stopped
        As `Tree.add`.
    """
    tree = Tree(target, bounds, stop)
    try:
        with _members(archive, kind, name, program) as members:
            for member, content in members:
                tree.add(member, content)
        tree.seal()
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise Refused(f"the archive is broken: {exc}") from exc
    finally:
        tree.close()
    return tree.bytes, tree.count


Members = Iterator[Tuple[Member, Iterator[bytes]]]


@contextlib.contextmanager
def _members(
    archive: Path, kind: str, name: str, program: Callable[[], Optional[str]]
) -> Iterator[Members]:
    one = Member(name.encode(), "file")
    if kind == "zip":
        yield iter(Zip(archive))
        return
    opened = _OPEN.get(kind)
    if opened is None:
        raise Refused(f"this node does not know archives of the kind {kind!r}")
    with opened(archive, program) as source:
        if kind in ("gz", "file"):
            yield iter([(one, _pieces(source))])
        else:
            yield iter(Tar(source))


def _pieces(source: Source) -> Iterator[bytes]:
    while True:
        data = source.read(_CHUNK)
        if not data:
            return
        yield data


@contextlib.contextmanager
def _plain(archive: Path, _: object) -> Iterator[Source]:
    with archive.open("rb") as file:
        yield file


@contextlib.contextmanager
def _gzip(archive: Path, _: object) -> Iterator[Source]:
    with gzip.open(archive, "rb") as file:
        yield file


@contextlib.contextmanager
def _zstd(archive: Path, program: Callable[[], Optional[str]]) -> Iterator[Source]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        with zstd_by_program(archive, program()) as source:
            yield source
        return
    try:
        with zstd.open(archive, "rb") as file:
            yield file
    except zstd.ZstdError as exc:
        raise Refused(f"the archive is broken: {exc}") from exc


@contextlib.contextmanager
def zstd_by_program(archive: Path, program: Optional[str]) -> Iterator[Source]:
    """Open a .zst file by the program `zstd`; Refused where there is none."""
    if program is None:
        raise Refused(
            "this node cannot unpack .tar.zst: it has neither the program zstd nor Python 3.14; have "
            "the site's admins install zstd, or register the data as .tar.gz"
        )
    argv = [program, "--decompress", "--stdout", "--quiet"]
    with (
        archive.open("rb") as file,
        subprocess.Popen(
            argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LANG": "C"}
        ) as child,
    ):
        assert child.stdout is not None and child.stderr is not None  # noqa: PT018 - pipes were asked for
        try:
            yield child.stdout
        except Refused as exc:
            # Of a broken archive the program knows better what is wrong than what reads the rest.
            if "cut off" in str(exc) and child.wait(10) != 0:
                said = " ".join(child.stderr.read(_SAID).decode("utf-8", "replace").split())
                raise Refused(f"the archive is broken: {said}") from exc
            raise
        finally:
            child.kill()


_OPEN: Dict[
    str, Callable[[Path, Callable[[], Optional[str]]], "contextlib.AbstractContextManager[Source]"]
] = {
    "file": _plain,
    "tar": _plain,
    "tar.gz": _gzip,
    "gz": _gzip,
    "tar.zst": _zstd,
}
