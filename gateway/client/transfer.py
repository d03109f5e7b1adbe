"""Moving files between this machine and the object store, by presigned requests that the gateway grants.

The bytes take the road that those of jobs take (`gateway.agent`): in parallel, tried again, checked both ways.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway import wire
from gateway.agent.download import Downloader, StageInError
from gateway.agent.files import Input, Trust
from gateway.agent.hashing import digest_for, mismatch
from gateway.agent.mailbox import NoAnswer, Stop
from gateway.agent.outputs import Found
from gateway.agent.upload import Uploader
from gateway.client.grants import Grants
from gateway.client.local import TransferError, apart, mode_in, once, place
from gateway.connection import Connection

_MIB = 1 << 20
_PART = 64 * _MIB
_MOST_PART = 5 << 30  # of S3
_PARTS = 1000  # of one file, as far as the size of a part goes

OnBytes = Callable[[int, int], None]


class Storage(NamedTuple):
    """How the object stores are reached; `part_size` in bytes."""

    part_size: int
    trusts: tuple[Trust, ...]


class Folders(NamedTuple):
    """Where files are put: `partial` until they are whole."""

    inputs: Path
    partial: Path

    @property
    def work(self) -> Path:
        """Any directory there."""
        return self.partial


class _Count:
    """Bytes that are done, of all, told to whoever wants to know."""

    def __init__(self, total: int, tell: OnBytes | None) -> None:
        self._total = total
        self._tell = tell
        self._lock = threading.Lock()
        self._done = 0
        self.add(0)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._tell is not None:
                self._tell(self._done, self._total)


def upload(
    http: Connection, files: Iterable[Found], ca_file: str | None, on_bytes: OnBytes | None
) -> list[wire.Output]:
    """Upload files; what is there already with the same bytes is left. Returns what the store has in the end.

    Raises
    ------
    TransferError
        With what went wrong; the others are there.
    """
    found = once(files)
    if not found:
        return []
    largest = max(one.size for one in found)
    part_size = min(_MOST_PART, max(_PART, -(-largest // _PARTS // _MIB) * _MIB))
    count = _Count(sum(one.size for one in found), on_bytes)
    grants = Grants(http, [one.path for one in found], part_size)
    storage = Storage(part_size, (Trust("", ca_file),))
    uploader = Uploader(storage, grants, Stop(), count.add, noun="file", announce=True)
    uploader.send(found)
    if uploader.errors:
        more = f"; and {len(uploader.errors) - 5} more" if len(uploader.errors) > 5 else ""
        raise TransferError("; ".join(uploader.errors[:5]) + more)
    sent = {one.path: one for one in uploader.outputs}
    stored = grants.look()
    for one, row in zip(found, stored, strict=True):
        mine = sent[one.path]
        if (row.etag, row.size) != (mine.etag, mine.size):
            raise TransferError(f"{row.file} was written by somebody else meanwhile")
    return [
        wire.Output(file=row.file, crc64nvme=row.crc64nvme, size=row.size, etag=row.etag)
        for row in stored
    ]


def download(
    http: Connection,
    wanted: Sequence[tuple[wire.Output, str]],
    directory: Path,
    ca_file: str | None,
    on_bytes: OnBytes | None,
) -> list[Path]:
    """Fetch outputs to files of these names below a directory; one that is there with the same bytes is left.

    Raises
    ------
    TransferError
        For a name that leads elsewhere or cannot be, an object that is not what was written any more, a failed transfer.
    """
    names = [name for _, name in wanted]
    apart(names)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise TransferError(f"{directory} cannot be made: {exc.strerror}") from exc
    root = directory.resolve()
    places = [place(root, name) for name in names]
    grants = Grants(http, [output.file for output, _ in wanted])
    items = []
    for number, (row, (output, name)) in enumerate(zip(grants.look(), wanted, strict=True)):
        if row.size != output.size or output.etag not in (None, row.etag):
            raise TransferError(f"{row.file} is not what the job wrote any more")
        parts = None if row.part_sizes is None else tuple(row.part_sizes)
        items.append(Input(number, name, row.size, row.etag, parts, row.crc64nvme))
    count = _Count(sum(item.size for item in items), on_bytes)
    missing = [item for item in items if not _is_there(item, places[item.id], count)]
    try:
        with tempfile.TemporaryDirectory(prefix=".cts-get-", dir=root) as partial:
            folders = Folders(root, Path(partial))
            Downloader(
                Storage(_PART, (Trust("", ca_file),)),
                folders,
                grants,
                Stop(),
                count.add,
                noun="file",
                mode=mode_in(folders.partial),
            ).fetch(missing)
    except (StageInError, NoAnswer) as exc:
        raise TransferError(str(exc)) from exc
    except OSError as exc:
        raise TransferError(f"{directory} cannot be written: {exc.strerror}") from exc
    return places


def _is_there(item: Input, where: Path, count: _Count) -> bool:
    try:
        if not where.is_file() or where.stat().st_size != item.size:
            return False
        digest = digest_for(item)
        with where.open("rb") as file:
            while data := file.read(_MIB):
                digest.update(data)
    except OSError:
        return False
    if mismatch(item, digest) is not None:
        return False
    count.add(item.size)
    return True
