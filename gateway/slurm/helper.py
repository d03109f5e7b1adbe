"""The hands of a site in a child process of another user.

The daemon starts the configured command (`sudo -n -u ctsjob -- cts-helper`, say), which calls `gateway.slurm.serve`. The
line protocol carries data only: neither side can make the other run anything but the operations of `Hands`, and what
the child says is checked like anybody's words.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from gateway.errors import SiteError
from gateway.slurm.child import Child, start_process
from gateway.slurm.hands import CommandResult, Entry

T = TypeVar("T")


_HASHING = 3600.0  # seconds, for an image of some 100 GB on a slow disk


class SpokenHands:
    """`Hands` that are a helper's, which is asked by words: started when needed, and started again when it died.

    Parameters
    ----------
    answer_seconds
        How long it may take to answer what is about files.
    """

    def __init__(self, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._closed = False

    def _begin(self) -> Child:
        """Start a helper; SiteError when that is not to be."""
        raise NotImplementedError

    def close(self) -> None:
        """End the child; what it is doing it ends first. No other is started."""
        with self._lock:
            child, self._child, self._closed = self._child, None, True
        if child is not None:
            child.end()

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        """See `Hands.run`."""
        return self._call("run", [list(argv), timeout, guarded], _result, timeout + 10)

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See `Hands.write_files`."""
        packed = [[path, base64.b64encode(data).decode()] for path, data in files]
        self._call("write_files", packed, _nothing)

    def read_file(self, path: str, offset: int = 0, length: int = 1 << 20) -> bytes | None:
        """See `Hands.read_file`."""
        return self._call("read_file", [path, offset, length], lambda a: _piece(a, length))

    def size(self, path: str) -> int | None:
        """See `Hands.size`."""
        return self._call("size", [path], _size)

    def scan(self, directory: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Hands.scan`."""
        return self._call("scan", [directory, limit], lambda a: _files(a, limit))

    def listing(self, directory: str) -> list[Entry]:
        """See `Hands.listing`."""
        return self._call("listing", [directory], _entries)

    def sha256(self, path: str) -> str | None:
        """See `Hands.sha256`."""
        return self._call("sha256", [path], _digest, _HASHING)

    def remove(self, paths: Sequence[str]) -> None:
        """See `Hands.remove`."""
        self._call("remove", list(paths), _nothing, 600)

    def _call(
        self,
        operation: str,
        arguments: list[Any],
        read: Callable[[Any], T],
        timeout: float | None = None,
    ) -> T:
        answer = self._running().call(operation, arguments, timeout or self._answer_seconds)
        try:
            return read(answer)
        except (TypeError, ValueError) as exc:
            raise SiteError(
                f"the site's helper gave a wrong answer to {operation}: {str(answer)[:100]}"
            ) from exc

    def _running(self) -> Child:
        with self._lock:
            if self._closed:
                raise SiteError("the gateway is ending; nothing is done at the site any more")
            if self._child is None or not self._child.alive:
                self._child = self._begin()
            return self._child


class HelperHands(SpokenHands):
    """`Hands` that are another user's, here: a child process.

    Parameters
    ----------
    command
        What starts `cts-helper` as the user of the jobs; the work directory is added to it.
    work_dir
        The site's work directory.
    exclusive
        Whether the helper takes the work directory's lock; see `LocalHands`.
    start_seconds, answer_seconds
        How long it may take to start, and to answer what is about files.
    """

    def __init__(
        self,
        command: Sequence[str],
        work_dir: str,
        *,
        exclusive: bool = True,
        start_seconds: float = 30,
        answer_seconds: float = 120,
    ) -> None:
        super().__init__(answer_seconds)
        self._command = [*command, *([] if exclusive else ["--check"]), work_dir]
        self._start_seconds = start_seconds

    def _begin(self) -> Child:
        return Child(partial(start_process, self._command), self._start_seconds)


def _result(answer: Any) -> CommandResult:
    code, out, err = answer
    if not (isinstance(code, int) and isinstance(out, str) and isinstance(err, str)):
        raise TypeError("not a command's result")
    return CommandResult(code, out, err)


def _nothing(answer: Any) -> None:
    if answer is not None:
        raise TypeError("not nothing")


def _size(answer: Any) -> int | None:
    if answer is not None and (not isinstance(answer, int) or answer < 0):
        raise TypeError("not a size")
    return answer


def _piece(answer: Any, length: int) -> bytes | None:
    data = None if answer is None else base64.b64decode(answer, validate=True)
    if data is not None and len(data) > length:
        raise ValueError("more than was asked for")
    return data


def _entries(answer: Any) -> list[Entry]:
    found = [Entry(name, size, accessed, changed) for name, size, accessed, changed in answer]
    for entry in found:
        # Names become paths below the directory that was asked for, and nowhere else.
        if not isinstance(entry.name, str) or "/" in entry.name or entry.name in ("", ".", ".."):
            raise ValueError("not files of one directory")
        if not all(isinstance(n, int | float) for n in (entry.size, entry.accessed, entry.changed)):
            raise TypeError("not sizes and times")
    return found


def _digest(answer: Any) -> str | None:
    if answer is not None and not (isinstance(answer, str) and len(answer) == 64):
        raise TypeError("not a digest")
    return answer


def _files(answer: Any, limit: int) -> list[tuple[str, bytes]]:
    found = [(name, base64.b64decode(data, validate=True)) for name, data in answer]
    # Names become paths below the directory that was asked for, and nowhere else.
    if len(found) > limit or any(
        not isinstance(name, str) or "/" in name or name.startswith(".") or not name
        for name, _ in found
    ):
        raise ValueError("not files of one directory")
    return found
