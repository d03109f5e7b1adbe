"""What runs in the site, as root: bringing the parts up, and each part's start, stop and state.

Called by `main` through nsenter: `python3 -m devclusterlib.inside COMMAND …`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devclusterlib import gateway, slurm, storage
from devclusterlib.parts import RUN, Part
from devclusterlib.settings import INSIDE_FILE, ClusterError, Settings


def all_parts(settings: Settings) -> list[Part]:
    """Return every part, in the order in which they start."""
    return [
        *slurm.parts(settings),
        gateway.sshd(settings),
        *storage.parts(settings),
        gateway.part(),
    ]


def up(settings: Settings, with_gateway: bool) -> None:
    """Start what does not run, and load what is missing."""
    fresh = RUN / "fresh"
    if not fresh.exists():
        storage.forget_objects()
        fresh.touch()
    _step("users", lambda: gateway.make_users(settings))
    _step("Slurm's configuration", lambda: slurm.write_configuration(settings))
    for part in all_parts(settings):
        if part.name != "gateway":
            _step(part.name, part.start)
    _step("images", lambda: ", ".join(storage.load_images(settings)))
    _step("sample data", lambda: _count(storage.load_data(settings)))
    if with_gateway:
        daemon = gateway.part()
        if _step("installation of the gateway", gateway.install) is not None:
            daemon.stop()
        _step("gateway", daemon.start)
    status(settings)


def _count(objects: int) -> str:
    return f"{objects} objects" if objects else ""


def _step(name: str, action: Callable[[], object]) -> object:
    begin = time.monotonic()
    result = action()
    took = time.monotonic() - begin
    if result or took > 0.5:
        detail = f"  ({result})" if isinstance(result, str) and result else ""
        print(f"  {name:<28} {took:6.1f} s{detail}", flush=True)
    return result


def status(settings: Settings, as_json: bool = False) -> int:
    """Print the state of each part; exit code 1 when one is not up."""
    states = {part.name: part.state() for part in all_parts(settings)}
    if as_json:
        print(json.dumps(states))
    else:
        for name, state in states.items():
            print(f"{name:<12} {state}")
    return 0 if all(state == "up" for state in states.values()) else 1


def main(argv: list[str]) -> int:
    """Do one command; exit code 1 with one line on standard error when it cannot be done."""
    settings = Settings.load(Path(INSIDE_FILE))
    assert settings is not None
    command, *rest = argv
    try:
        if command == "up":
            up(settings, with_gateway="--no-gateway" not in rest)
            return 0
        if command == "status":
            return status(settings, "--json" in rest)
        part = next((p for p in all_parts(settings) if p.name == rest[0]), None)
        if part is None:
            known = ", ".join(p.name for p in all_parts(settings))
            raise ClusterError(f"there is no part {rest[0]!r}; the parts are {known}")
        if command == "logs":
            print(part.log)
        elif command == "kill":
            part.stop(signal.Signals[f"SIG{rest[1]}"])
        elif command in ("stop", "restart"):
            part.stop()
        if command in ("start", "restart"):
            part.start()
    except ClusterError as exc:
        print(f"devcluster: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
