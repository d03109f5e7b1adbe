"""The helper's side of the talk: requests on standard input, answers on standard output, one JSON line each.

It is also sent to sites that are reached by SSH (`ssh.py`), as are `hands.py`, `trees.py` and `gateway.errors`: they need Python
3.9 and its standard library alone.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands

_COMMANDS = ("sbatch", "scancel", "squeue", "sacct", "scontrol", "sinfo", "sacctmgr", "apptainer")
_WORKERS = 8
READY = "ready"
MOST_LINE = 256 << 20  # bytes of one answer
_PONG = "[0, true, null]"


def serve(work_dir: str, source: IO[str], sink: IO[str], *, exclusive: bool = True) -> int:
    """Answer requests from `source` on `sink` until `source` ends; returns the exit code.

    Commands and files have workers of their own, so that a Slurm that hangs holds up no grants and no logs. At the end of
    `source` (the daemon has ended, or died) what is being done is ended, and nothing more is begun. An empty line asks for a
    sign of life: an answer with the number 0, which no request has.

    Raises
    ------
    SiteError
        When the work directory cannot be used.
    """
    os.umask(0o077)
    hands = LocalHands(work_dir, exclusive=exclusive)
    write_lock = threading.Lock()

    def say(text: str) -> None:
        with write_lock, suppress(OSError, ValueError):  # nobody listens any more
            sink.write(text + "\n")
            sink.flush()

    def answer(number: int, operation: str, arguments: list[Any]) -> None:
        try:
            reply = [number, True, perform(hands, work_dir, operation, arguments)]
        except SiteError as exc:
            reply = [number, False, str(exc)]
        except Exception as exc:  # noqa: BLE001 - the caller waits: every request gets an answer
            reply = [number, False, f"the helper cannot do {operation}: {exc!r}"]
        text = json.dumps(reply)
        if len(text) >= MOST_LINE:
            text = json.dumps([number, False, f"the answer to {operation} is too long"])
        say(text)

    say(READY)
    commands = ThreadPoolExecutor(_WORKERS, thread_name_prefix="commands")
    files = ThreadPoolExecutor(_WORKERS, thread_name_prefix="files")
    for line in source:
        if not line.strip():
            say(_PONG)
            continue
        number, operation, arguments = json.loads(line)
        (commands if operation == "run" else files).submit(answer, number, operation, arguments)
    files.shutdown(wait=False, cancel_futures=True)
    commands.shutdown(cancel_futures=True)
    files.shutdown()
    hands.close()
    return 0


def perform(hands: LocalHands, work_dir: str, operation: str, arguments: list[Any]) -> Any:
    """Do one operation with arguments as they came; return its answer, ready for JSON.

    Raises
    ------
    SiteError
        When it is none of those of `Hands`, goes beyond the work directory, or fails.
    """
    if operation == "run":
        argv, timeout, guarded = arguments
        done = hands.run(_allowed(argv, bool(guarded)), float(timeout), guarded=bool(guarded))
        return [done.returncode, done.stdout, done.stderr]
    if operation == "write_files":
        hands.write_files(
            [(_inside(work_dir, path), base64.b64decode(data)) for path, data in arguments]
        )
        return None
    if operation == "read_file":
        path, offset, length = arguments
        data = hands.read_file(_inside(work_dir, path), int(offset), int(length))
        return None if data is None else base64.b64encode(data).decode()
    if operation == "size":
        return hands.size(_inside(work_dir, arguments[0]))
    if operation == "scan":
        found = hands.scan(_inside(work_dir, arguments[0]), int(arguments[1]))
        return [[name, base64.b64encode(data).decode()] for name, data in found]
    if operation == "listing":
        entries = hands.listing(_inside(work_dir, arguments[0]))
        return [[e.name, e.size, e.accessed, e.changed] for e in entries]
    if operation == "sha256":
        return hands.sha256(_inside(work_dir, arguments[0]))
    if operation == "remove":
        hands.remove([_inside(work_dir, path) for path in arguments])
        return None
    raise SiteError(f"no such operation: {operation}")


def _allowed(argv: list[str], guarded: bool) -> list[str]:
    name = os.path.basename(argv[0])
    if name not in _COMMANDS:
        raise SiteError(f"{argv[0]} is not among the commands of a site: {', '.join(_COMMANDS)}")
    if name == "sbatch" and not guarded:
        raise SiteError("sbatch is run with the work directory's lock only")
    return argv


def _inside(work_dir: str, path: str) -> str:
    """Check that a path lies below the work directory by its words.

    A link within may lead elsewhere; who could make it is the user of this process, who gains nothing by it.
    """
    if not path.startswith(f"{work_dir.rstrip('/')}/") or ".." in path.split("/"):
        raise SiteError(f"{path} is not below the work directory {work_dir}")
    return path
