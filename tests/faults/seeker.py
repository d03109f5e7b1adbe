"""Looks for words all over a site, again and again: in files, in the arguments and the environment of processes, in Slurm.

Runs in the site, as root, by the site's own Python; what it looks for comes on its standard input, so that it is in no
argument of its own. The first line there is a JSON object; each line after it asks for a whole look, which is then reported
as a line of JSON. Between them it looks all the time; it ends with its input. `tests/faults/seeking.py` is who asks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SETTLED = 10**9  # ns after its last change from which a file's times tell of any other
_PIECE = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PAUSE = 0.3
_PHASES_EACH = 0.1
_PHASE = re.compile(rb"\0step\0(stage-in|run|stage-out)\0[^\0]*/jobs/([0-9]+)/job\.json\0")
_URL = re.compile(rb"https?://[^\s\"'<>\0]*[?&](?:X-Amz-)?Signature=[^\s\"'<>\0]*")


class Seeker:
    """What was looked at so far, and what was found.

    `words` are looked for everywhere; `key_id` in all but presigned URLs, which are told by themselves; `own` are the programs
    whose memory is not looked at.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self._words = {name: text.encode() for name, text in asked["words"].items()}
        self._key_id = asked["key_id"].encode()
        self._roots: list[str] = asked["roots"]
        self._own: list[str] = asked["own"]
        self._longest = max(map(len, [self._key_id, *self._words.values()]))
        self._buffer = bytearray(_PIECE + self._longest)
        self._view = memoryview(self._buffer)
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._found: set[tuple[str, str, str]] = set()
        self._urls: dict[tuple[str, str], tuple[int, int]] = {}
        self._phases: set[tuple[int, str]] = set()
        self._counts: dict[str, set[object]] = {
            "files": set(), "processes": set(), "environments": set(), "memories": set(), "slurm_jobs": set(),
        }  # fmt: skip
        self._looks = self._bytes = 0

    def look(self, *, memory: bool) -> None:
        """Look at everything once; at what processes have in memory when that is asked for."""
        for root in self._roots:
            for path in _files(root):
                self._file(path)
        self._processes(memory=memory)
        self._slurm()
        self._looks += 1

    def report(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "looks": self._looks,
            "bytes": self._bytes,
            **{name: len(what) for name, what in self._counts.items()},
            "phases": sorted(self._phases.copy()),
            "found": sorted(self._found),
            "urls": [(place, url, *rights) for (place, url), rights in sorted(self._urls.items())],
        }

    def watch_phases(self) -> None:
        """Note the steps of jobs that are among the processes, for ever: a look at everything may take longer than a step."""
        while True:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    argv = Path(f"/proc/{pid}/cmdline").read_bytes()
                    for phase, job in _PHASE.findall(argv):
                        self._phases.add((int(job), phase.decode()))
            time.sleep(_PHASES_EACH)

    def _file(self, path: str) -> None:
        """Read a file, unless it was read before and has not been changed."""
        try:
            if self._seen.get(path) == _stamp(os.lstat(path)):
                return
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return  # it went meanwhile
        with os.fdopen(handle, "rb", buffering=0) as file:
            is_ = os.fstat(handle)
            if not stat.S_ISREG(is_.st_mode):
                return
            if time.time_ns() - is_.st_ctime_ns > _SETTLED:
                self._seen[path] = _stamp(is_)
            self._counts["files"].add(path)
            before = b""
            while data := file.read(_PIECE):
                self._bytes += len(data)
                self._text("file", path, before + data, stat.S_IMODE(is_.st_mode), is_.st_uid)
                before = data[-4096:]  # a URL is not longer

    def _text(self, kind: str, place: str, data: bytes, mode: int = 0, uid: int = 0) -> None:
        for name, word in self._words.items():
            if word in data:
                self._found.add((name, kind, place))
        for match in _URL.finditer(data):
            shown = match[0].partition(b"?")[0].decode(errors="replace")
            self._urls[f"{kind} {place}", shown] = mode, uid
        if self._key_id in data and self._key_id in _URL.sub(b"", data):
            self._found.add(("key id", kind, place))

    def _processes(self, *, memory: bool) -> None:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes()
                name = Path(f"/proc/{pid}/comm").read_bytes().decode(errors="replace").strip()
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            self._counts["processes"].add((pid, argv))
            place = f"{name} {pid}"
            self._text("argv", place, argv)
            if environment:
                self._counts["environments"].add((pid, environment))
                self._text("environ", place, environment)
            if memory and name not in self._own:
                self._memory(pid, name)

    def _memory(self, pid: str, name: str) -> None:
        """Look for the words alone: a URL that a process was given is there by right."""
        try:
            maps = Path(f"/proc/{pid}/maps").read_bytes().decode(errors="replace").splitlines()
            with (
                Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file,
                Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages,
            ):
                for line in maps:
                    span, rights, *_ = line.split()
                    if rights.startswith("rw"):
                        begin, end = (int(part, 16) for part in span.split("-"))
                        for run in _touched(pages, begin, end):
                            self._span(file, *run, f"{name} {pid}")
        except OSError:
            return  # it ended meanwhile
        self._counts["memories"].add((pid, name))

    def _span(self, file: io.FileIO, begin: int, end: int, place: str) -> None:
        kept = 0  # bytes of the piece before, at whose end a word may begin
        while begin < end:
            try:
                file.seek(begin)
                count = file.readinto(self._view[kept : kept + min(_PIECE, end - begin)])
            except OSError:
                return  # a mapping without memory behind it
            if not count:
                return
            begin += count
            for name, word in self._words.items():
                if self._buffer.find(word, 0, kept + count) >= 0:
                    self._found.add((name, "memory", place))
            tail = min(self._longest, kept + count)
            self._view[:tail] = bytes(self._view[kept + count - tail : kept + count])
            kept = tail

    def _slurm(self) -> None:
        for what in (("job", "-dd"), ("step", "-dd")):
            self._text("slurm", f"show {what[0]}", _said("scontrol", "show", *what))
        for job in _said("squeue", "-h", "-a", "-t", "all", "-o", "%F").decode().split():
            self._counts["slurm_jobs"].add(job)
            script = _said("scontrol", "write", "batch_script", job, "-")
            self._text("slurm", "batch_script", script)


def _stamp(is_: os.stat_result) -> tuple[int, int, int]:
    return is_.st_ino, is_.st_size, is_.st_ctime_ns


def _touched(pages: io.FileIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a mapping that have memory or swap behind them: bits 63 and 62 of its pages (proc_pid_pagemap(5))."""
    pages.seek(begin // _PAGE * 8)
    kinds = pages.read((end - begin) // _PAGE * 8)[7::8]
    for run in re.finditer(rb"[\x40-\xff]+", kinds):
        yield begin + run.start() * _PAGE, begin + run.end() * _PAGE


def _files(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield f"{folder}/{name}"


def _said(*argv: str) -> bytes:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout


def main() -> None:
    """Look until the input ends."""
    seeker = Seeker(json.loads(sys.stdin.buffer.raw.readline()))  # type: ignore[union-attr]
    threading.Thread(target=seeker.watch_phases, daemon=True).start()
    while True:
        asked = bool(select.select([0], [], [], _PAUSE)[0])
        if asked and not os.read(0, 4096):
            return
        seeker.look(memory=asked)
        if asked:
            print(json.dumps(seeker.report()), flush=True)


if __name__ == "__main__":
    main()
