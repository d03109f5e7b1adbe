"""Sites of the dev cluster, on and off for a while, and what is wrong at one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import DevCluster


@contextmanager
def switched(site: DevCluster, name: str, word: str = "on") -> Iterator[None]:
    """A site on or off for the time of a block."""
    back = ("off", name, "--reason", "it is for tests alone") if word == "on" else ("on", name)
    site.run("cts", "admin", "site", word, name, user="ada")
    try:
        yield
    finally:
        site.run("cts", "admin", "site", *back, user="ada")


def trouble(site: DevCluster, name: str) -> str:
    """What a site that is on says that it could not do; empty where nothing is wrong."""
    shown = json.loads(site.run("cts", "sites", name, "--json").stdout)[0]
    assert shown["active"]
    return shown["unavailable_reason"] or ""


@contextmanager
def edited(site: DevCluster, path: str, script: str, part: str) -> Iterator[None]:
    """A file of the site changed by a script of `sed -E` for the time of a block; `part` is restarted for it, and after."""
    site.run("cp", "-p", path, f"{path}.kept", user="root")
    try:
        site.run("sed", "-E", "-i", script, path, user="root")
        site.tool("restart", part)
        yield
    finally:
        site.run("mv", f"{path}.kept", path, user="root")
        site.tool("restart", part)
