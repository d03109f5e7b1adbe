"""Looking for words all over the site while something else goes on: `tests/faults/seeker.py`, and what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import CHECKOUT, DevCluster

_PROGRAM = Path(__file__).with_name("seeker.py")
# What jobs, the gateway, Slurm and Apptainer write. Not what holds the keys by right: the daemon's credentials file and those of
# people, and the store's own files.
ROOTS = (
    *("/scratch", "/tmp", "/var/tmp", "/dev/shm", "/run", "/home/ctsjob", "/var/spool", "/var/log"),
    *("/var/lib/cts", "/var/lib/slurm", "/var/lib/apptainer"),
)
_STORE = ("radosgw", "ceph-osd", "ceph-mon")


@dataclass(frozen=True)
class Found:
    """A word, and where it was: `kind` is file, argv, environ, memory or slurm."""

    word: str
    kind: str
    place: str


@dataclass(frozen=True)
class Url:
    """A presigned URL, without its query, and where it was; `mode` and `uid` of the file."""

    place: str
    url: str
    mode: int
    uid: int


@dataclass(frozen=True)
class Report:
    """What was seen since the beginning: `phases` (job, phase) are those whose step was among the processes."""

    counts: dict[str, int]
    phases: set[tuple[int, str]]
    found: set[Found]
    urls: set[Url]

    def kinds(self, word: str) -> set[str]:
        """In what kinds of places a word was."""
        return {each.kind for each in self.found if each.word == word}


class Seeking:
    """A search that is under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def look(self) -> Report:
        """Have all looked at once more from now on, memory too, and tell of what was seen so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Report(
            {name: value for name, value in said.items() if isinstance(value, int)},
            {(job, phase) for job, phase in said["phases"]},
            {Found(*each) for each in said["found"]},
            {Url(*each) for each in said["urls"]},
        )


@contextmanager
def seeking(site: DevCluster, key_id: str, words: dict[str, str]) -> Iterator[Seeking]:
    """Look for words (by a name each), and for a key id outside of presigned URLs, for the time of a block."""
    command = ("exec", "--", "python3", "-I", "-c", _PROGRAM.read_text())
    process = subprocess.Popen(
        [str(CHECKOUT / "deploy/devcluster"), *site.options, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    try:
        asked = {"words": words, "key_id": key_id, "roots": ROOTS, "own": _STORE}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        yield Seeking(process)
    finally:
        process.stdin.close()
        process.wait(600)
