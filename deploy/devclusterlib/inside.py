"""What runs in the site, as root: bringing the parts up, and each part's start, stop and state.

Called by `site.run_inside`: `python3 -m devclusterlib.inside COMMAND …`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devclusterlib import certificates, gateway, registry, samples, slurm, storage
from devclusterlib.parts import Part
from devclusterlib.settings import INSIDE_FILE, ClusterError, Settings


def all_parts(settings: Settings) -> list[Part]:
    """Return every part, in an order in which they can start."""
    return [
        *slurm.parts(settings),
        gateway.sshd(settings),
        *registry.parts(settings),
        *storage.parts(settings),
        gateway.part(settings),
    ]


def up(settings: Settings, with_gateway: bool) -> int:
    """Start what does not run, and load what is missing; return 0 when every part is up.

    Slurm, S3, registry and the installation of the gateway do not need each other: they go side by side.
    """
    storage.forget_lost(settings)
    _step("users", lambda: gateway.make_users(settings))
    _step("certificates", certificates.ensure)
    _step("Slurm's configuration", lambda: slurm.write_configuration(settings))
    daemon = gateway.part(settings)
    chains: list[Callable[[], None]] = [
        lambda: _storage(settings),
        lambda: _batch(settings),
    ]
    if with_gateway:
        chains.append(lambda: _install(daemon))
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(chain) for chain in chains]
    for done in running:
        done.result()
    if with_gateway:
        _step("gateway", daemon.start)
    return status(settings, without=() if with_gateway else (daemon.name,))


def _storage(settings: Settings) -> None:
    for part in storage.parts(settings):
        _step(part.name, part.start)
    _step("sample data", lambda: _count(samples.load(settings)))


def _batch(settings: Settings) -> None:
    for part in (*slurm.parts(settings), gateway.sshd(settings), *registry.parts(settings)):
        _step(part.name, part.start)
    _step("images", lambda: ", ".join(registry.load(settings)))


def _install(daemon: Part) -> None:
    if _step("installation of the gateway", gateway.install) is not None:
        daemon.stop()


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


def halt(settings: Settings) -> None:
    """End in order what keeps a state on disk, so that it is all there next time."""
    names = {part.name: part for part in all_parts(settings)}
    stores = ("rgw", "ceph-osd", "ceph-mon") if settings.osd_store == "file" else ()
    for name in ("gateway", "slurmctld", "slurmdbd", "mariadb", *stores):
        names[name].stop(patience=10)


def status(settings: Settings, as_json: bool = False, without: tuple[str, ...] = ()) -> int:
    """Print the state of each part; exit code 1 when one is not up (but for those left out)."""
    parts = all_parts(settings)
    with ThreadPoolExecutor(4) as pool:
        states = dict(
            zip([p.name for p in parts], pool.map(lambda p: p.state(), parts), strict=True)
        )
    if as_json:
        print(json.dumps(states))
    else:
        for name, state in states.items():
            print(f"{name:<12} {state}")
    return 0 if all(state == "up" for name, state in states.items() if name not in without) else 1


def _act(settings: Settings, command: str, name: str, *rest: str) -> None:
    part = next(part for part in all_parts(settings) if part.name == name)
    if command == "kill":
        part.kill(signal.Signals[rest[0]])
    if command in ("stop", "restart"):
        part.stop()
    if command in ("start", "restart"):
        part.start()


def main(argv: list[str]) -> int:
    """Do one command; exit code 1 with one line on standard error when it cannot be done."""
    settings = Settings.load(Path(INSIDE_FILE))
    assert settings is not None
    command, *rest = argv
    try:
        if command == "up":
            return up(settings, with_gateway="--no-gateway" not in rest)
        if command == "status":
            return status(settings, "--json" in rest)
        if command == "halt":
            halt(settings)
        else:
            _act(settings, command, *rest)
    except ClusterError as exc:
        print(f"devcluster: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
