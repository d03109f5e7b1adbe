"""A cluster as its callers on the host see it: is it up, and running something in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devclusterlib import enter, namespace
from devclusterlib.settings import ClusterError, Settings

_INSIDE = {"PYTHONPATH": "/src/deploy", "PYTHONDONTWRITEBYTECODE": "1"}


def how(name: str) -> str:
    """Return how this program is called for a cluster."""
    return f"deploy/devcluster --name {name}"


def pid(settings: Settings) -> int:
    """Return the pid of the site's init.

    Raises
    ------
    ClusterError
        When the site is not up.
    """
    found = namespace.pid_of(settings)
    if found is None or not namespace.is_ready(found):
        raise ClusterError(
            f"the cluster {settings.name!r} is not up; '{how(settings.name)} up' starts it"
        )
    return found


def run_inside(settings: Settings, *arguments: str) -> int:
    """Run `devclusterlib.inside` in the site; return its exit code."""
    command = ["python3", "-m", "devclusterlib.inside", *arguments]
    return enter.run(settings, pid(settings), command, extra=_INSIDE).shell_code


def stop(settings: Settings) -> bool:
    """Stop what keeps a state in order, then everything; tell whether the site was up."""
    found = namespace.pid_of(settings)
    if found is not None and namespace.is_ready(found):
        run_inside(settings, "halt")  # what does not end by this is killed
    return namespace.stop(settings)


def others_up(settings: Settings) -> Iterator[Settings]:
    """Yield the settings of the other clusters of this cache that are up."""
    for path in sorted(Path(settings.cache, "clusters").glob("*/settings.json")):
        if path.parent == Path(settings.directory):
            continue
        try:
            other = Settings.load(path)
        except ClusterError:
            continue
        if other is not None and namespace.pid_of(other) is not None:
            yield other
