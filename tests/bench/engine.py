"""The agent's transfer engine by itself, with grants that are there: what transfer.py times beside the other tools.

Runs on a node as the agent does: the node's Python, the standard library, the agent's modules as a package of their own.
`engine.py down|up PLAN`: the plan says what is to be moved and holds the grants, so that no daemon's time is in it.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gateway"))

from agent.files import Fields, Input  # type: ignore[import-not-found]
from agent.mailbox import Stop  # type: ignore[import-not-found]


class Storage(NamedTuple):
    """As job.json says it."""

    part_size: int
    trusts: tuple[()] = ()


class Folders(NamedTuple):
    """Where files are put."""

    work: Path
    partial: Path
    inputs: Path


class Granted:
    """Answers with grants that are there, by id or path."""

    def __init__(self, grants: dict[str, Any]) -> None:
        self._grants = grants

    def ask(self, kind: str, stop: Stop, **more: Any) -> Fields:
        """Return the grant for what is asked."""
        names = [str(i) for i in more.get("inputs", [])] or [o["path"] for o in more["outputs"]]
        found = [self._grants[name] for name in names]
        which = "inputs" if kind == "stage-in" else "outputs"
        return Fields({"expires": 9e18, which: found}, "grant")


class Count:
    """Bytes that were moved."""

    def __init__(self) -> None:
        self.done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count some. Thread-safe."""
        with self._lock:
            self.done += count


def down(plan: dict[str, Any], count: Count) -> None:
    """Fetch the plan's inputs below its directory."""
    from agent.download import Downloader  # type: ignore[import-not-found]

    root = Path(plan["directory"])
    place = Folders(root, root / "partial", root / "in")
    for folder in (place.partial, place.inputs):
        folder.mkdir(parents=True)
    inputs = [
        Input(i["id"], i["path"], i["size"], i["etag"], i["part_sizes"], None, i["crc64nvme"])
        for i in plan["inputs"]
    ]
    storage = Storage(plan["part_size"])
    Downloader(storage, place, Granted(plan["grants"]), Stop(), count.add).fetch(inputs)


def up(plan: dict[str, Any], count: Count) -> None:
    """Upload all below the plan's directory."""
    from agent.outputs import scan  # type: ignore[import-not-found]
    from agent.upload import Uploader  # type: ignore[import-not-found]

    found = scan(Path(plan["directory"]), "/output_files")
    storage = Storage(plan["part_size"])
    uploader = Uploader(storage, Granted(plan["grants"]), Stop(), count.add)
    uploader.send(found)
    if uploader.errors:
        raise SystemExit(uploader.errors[0])


def main() -> None:
    """Do what the command line says."""
    plan = json.loads(Path(sys.argv[2]).read_bytes())
    if not plan["awscrt"]:
        sys.modules["awscrt"] = None  # type: ignore[assignment] # as on a node that has none
    count = Count()
    {"down": down, "up": up}[sys.argv[1]](plan, count)
    print(count.done)


if __name__ == "__main__":
    main()
