"""The hands of a site in a child process of another user, one JSON line a request and an answer.

The daemon starts the configured command (`sudo -n -u ctsjob -- cts-helper`, say), which calls `serve`. The
line protocol carries data only: neither side can make the other run anything but the operations of `Hands`.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import IO, Any

from gateway.errors import SiteError
from gateway.slurm.hands import CommandResult, LocalHands, clean_environment

_COMMANDS = ("sbatch", "scancel", "squeue", "sacct", "scontrol", "sinfo", "sacctmgr", "apptainer")


class HelperHands:
    """`Hands` that are another user's: a child process, started when needed and started again when it died.

    Parameters
    ----------
    command
        What starts `cts-helper` as the user of the jobs; the work directory is added to it.
    work_dir
        The site's work directory.
    exclusive
        Whether the helper takes the work directory's lock; see `LocalHands`.
    """

    def __init__(self, command: Sequence[str], work_dir: str, *, exclusive: bool = True) -> None:
        self._command = [*command, *([] if exclusive else ["--check"]), work_dir]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._next = 0

    def close(self) -> None:
        """End the child by closing its input; what it is doing it ends first."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        """See `Hands.run`."""
        answer = self._call("run", [list(argv), timeout, guarded], timeout + 10)
        return CommandResult(answer[0], answer[1], answer[2])

    def write_files(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See `Hands.write_files`."""
        self._call("write_files", [[path, base64.b64encode(data).decode()] for path, data in files])

    def read_file(self, path: str, offset: int = 0, length: int = 1 << 20) -> bytes | None:
        """See `Hands.read_file`."""
        answer = self._call("read_file", [path, offset, length])
        return None if answer is None else base64.b64decode(answer)

    def size(self, path: str) -> int | None:
        """See `Hands.size`."""
        answer = self._call("size", [path])
        return None if answer is None else int(answer)

    def scan(self, directory: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Hands.scan`."""
        return [
            (str(name), base64.b64decode(data))
            for name, data in self._call("scan", [directory, limit])
        ]

    def remove(self, paths: Sequence[str]) -> None:
        """See `Hands.remove`."""
        self._call("remove", list(paths), 600)

    def _call(self, operation: str, arguments: list[Any], timeout: float = 120) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            process = self._start()
            self._next += 1
            number = self._next
            self._waiting[number] = future
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps([number, operation, arguments]) + "\n")
                process.stdin.flush()
            except OSError as exc:
                self._waiting.pop(number, None)
                self._process = None
                raise SiteError(f"the site's helper has gone: {exc.strerror}") from exc
        try:
            return future.result(timeout)
        except FutureTimeout as exc:
            raise SiteError(
                f"the site's helper gave no answer to {operation} in {timeout:g} s"
            ) from exc
        finally:
            self._waiting.pop(number, None)

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=clean_environment(),
                cwd="/",
            )
        except OSError as exc:
            raise SiteError(
                f"cannot start the site's helper {self._command[0]}: {exc.strerror}"
            ) from exc
        assert process.stdout is not None
        first = process.stdout.readline()
        if first != "ready\n":
            process.kill()
            said = process.communicate()[1].strip()
            raise SiteError(
                f"the site's helper did not start: {said or first.strip() or 'it said nothing'}"
            )
        self._process = process
        threading.Thread(target=self._read, args=(process,), name="helper", daemon=True).start()
        threading.Thread(target=_drain, args=(process,), name="helper-errors", daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            number, ok, answer = json.loads(line)
            future = self._waiting.pop(number, None)
            if future is None:
                continue
            if ok:
                future.set_result(answer)
            else:
                future.set_exception(SiteError(str(answer)))
        process.wait()
        for number in list(self._waiting):
            lost = self._waiting.pop(number, None)
            if lost is not None and not lost.done():
                lost.set_exception(SiteError("the site's helper died"))


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for _ in process.stderr:
        pass


def serve(work_dir: str, source: IO[str], sink: IO[str], *, exclusive: bool = True) -> int:
    """Answer requests from `source` on `sink` until `source` ends; returns the exit code.

    Raises
    ------
    SiteError
        When the work directory cannot be used.
    """
    os.umask(0o077)
    hands = LocalHands(work_dir, exclusive=exclusive)
    write_lock = threading.Lock()

    def answer(number: int, operation: str, arguments: list[Any]) -> None:
        try:
            reply = [number, True, _perform(hands, work_dir, operation, arguments)]
        except SiteError as exc:
            reply = [number, False, str(exc)]
        except (TypeError, ValueError, AttributeError, IndexError) as exc:
            reply = [number, False, f"the helper was asked wrongly: {exc}"]
        with write_lock:
            sink.write(json.dumps(reply) + "\n")
            sink.flush()

    sink.write("ready\n")
    sink.flush()
    with ThreadPoolExecutor(max_workers=16) as pool:
        for line in source:
            number, operation, arguments = json.loads(line)
            pool.submit(answer, number, operation, arguments)
    hands.close()
    return 0


def _perform(hands: LocalHands, work_dir: str, operation: str, arguments: list[Any]) -> Any:
    if operation == "run":
        argv, timeout, guarded = arguments
        if os.path.basename(argv[0]) not in _COMMANDS:
            raise SiteError(
                f"{argv[0]} is not among the commands of a site: {', '.join(_COMMANDS)}"
            )
        done = hands.run(argv, timeout, guarded=bool(guarded))
        return [done.returncode, done.stdout, done.stderr]
    if operation == "write_files":
        hands.write_files(
            [(_inside(work_dir, path), base64.b64decode(data)) for path, data in arguments]
        )
        return None
    if operation == "read_file":
        data = hands.read_file(
            _inside(work_dir, arguments[0]), int(arguments[1]), int(arguments[2])
        )
        return None if data is None else base64.b64encode(data).decode()
    if operation == "size":
        return hands.size(_inside(work_dir, arguments[0]))
    if operation == "scan":
        found = hands.scan(_inside(work_dir, arguments[0]), int(arguments[1]))
        return [[name, base64.b64encode(data).decode()] for name, data in found]
    if operation == "remove":
        hands.remove([_inside(work_dir, path) for path in arguments])
        return None
    raise SiteError(f"no such operation: {operation}")


def _inside(work_dir: str, path: str) -> str:
    clean = os.path.normpath(path)
    if not clean.startswith(os.path.normpath(work_dir) + "/"):
        raise SiteError(f"{path} is not below the work directory {work_dir}")
    return clean
