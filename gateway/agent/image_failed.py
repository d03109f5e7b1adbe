"""Notes of images that could not be had: one failure serves all who waited for it, and nobody who comes later.

Each node has a note of its own beside the SIF file, `.NAME.failed-<node>`, written anew by each failure there before the lease
is given back. Who waits remembers the notes that there were when it began, and so needs no clock to tell what is new.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from .files import ContractError, Say, read_fields, write_json
from .image_build import ImageError

_ENOUGH = 2  # nodes
_Stamp = Tuple[int, int]


class Told(ImageError):
    """What somebody else met."""


class Failures:
    """The failures to have an image that come after now, for a task of a job on `node`.

    One on the same node is believed, else those of two others: one node whose network is broken ends no tasks elsewhere.
    """

    def __init__(self, sif: Path, job_id: int, say: Say, node: Optional[str] = None) -> None:
        self._sif = sif
        self._job_id = job_id
        self._say = say
        self._prefix = f".{sif.name}.failed-"
        self._node = re.sub(r"[^A-Za-z0-9.-]", "_", node or os.uname().nodename)
        self._before = self._notes()

    def _notes(self) -> Dict[str, _Stamp]:
        found = {}
        for entry in os.scandir(self._sif.parent):
            if entry.name.startswith(self._prefix):
                with contextlib.suppress(FileNotFoundError):
                    is_ = entry.stat(follow_symlinks=False)
                    found[entry.name] = is_.st_ino, is_.st_mtime_ns
        return found

    def check(self) -> None:
        """Look for one.

        Raises
        ------
        Told
            With the text of the failure.
        """
        errors: List[str] = []
        for name, stamp in self._notes().items():
            if self._before.get(name) == stamp:
                continue
            error = self._read(name)
            if error is None:
                continue
            errors.append(error)
            if name == self._prefix + self._node or len(errors) == _ENOUGH:
                self._say("image: another task that wanted it has failed to have it")
                raise Told(error)

    def _read(self, name: str) -> Optional[str]:
        """Return what a note says, where it holds for this job."""
        try:
            note = read_fields(self._sif.with_name(name))
            return (
                note.text("error") if note.whole_or_none("job_id") in (None, self._job_id) else None
            )
        except (FileNotFoundError, ContractError):
            return None

    def note(self, error: ImageError) -> None:
        """Tell those who wait of a failure; a cache that cannot be written tells nobody."""
        job_id = None if error.anybodys else self._job_id
        note = {"version": 1, "job_id": job_id, "error": str(error)}
        with contextlib.suppress(OSError):
            write_json(self._sif.with_name(self._prefix + self._node), note)

    def forget(self) -> None:
        """Remove all notes: the image is there."""
        for name in self._notes():
            self._sif.with_name(name).unlink(missing_ok=True)
