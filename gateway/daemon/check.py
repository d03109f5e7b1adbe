"""Trying each thing that the gateway depends on: a line each, for `ctsd check` and GET /ready.

One that cannot even be set up (a missing credentials file, say) is a line like the others, never an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gateway import wire
from gateway.config import Config, SiteSection
from gateway.daemon.site import Site, make_site
from gateway.daemon.templates import sample
from gateway.errors import ConfigError, GatewayError, SiteError, StoreError
from gateway.images.crane import Crane
from gateway.images.logins import LoginError, Logins
from gateway.s3.probe import list_buckets, write_and_remove
from gateway.s3.reach import Reach
from gateway.slurm.directives import job_fields
from gateway.slurm.render import render, template_path
from gateway.store.db import Database

_CHECK_FILE = ".check"


@dataclass(frozen=True)
class Parts:
    """How to get at each part: those of a running daemon, or new ones."""

    database: Callable[[], Database]
    stores: Mapping[str, Callable[[], Reach]]
    crane: Crane
    sites: Mapping[str, Callable[[], Site]]


def check(config: Config, parts: Parts, *, writing: bool = False) -> list[wire.ReadyLine]:
    """Try everything, one after the other; with `writing` also whether the stores keep what is written, where a place is set."""
    lines = [_line("database", lambda: _database(parts.database()))]
    for name, store in config.s3.each().items():
        what, get = f"s3 {name}".rstrip(), parts.stores[name]
        lines.append(_line(what, partial(_listed, get)))
        if writing and store.check_prefix is not None:
            lines.append(_line(f"{what}: objects", partial(_written, get, store.check_prefix)))
    lines += [
        _line("crane", parts.crane.version),
        _line("registry logins", Logins(config.images).check),
    ]
    for name, get_site in parts.sites.items():
        lines += [
            _line(f"site {name}: slurm", partial(_slurm, get_site)),
            _line(f"site {name}: work directory", partial(_work, get_site)),
            _line(f"site {name}: template", partial(_template, config.sites[name])),
        ]
    return lines


def check_alone(config: Config) -> list[wire.ReadyLine]:
    """Try everything without a daemon, or beside the one that runs: its work directories stay locked by it."""
    made: dict[str, Site] = {}

    def site(name: str) -> Site:
        if name not in made:
            made[name] = make_site(name, config.sites[name], exclusive=False)
        return made[name]

    parts = Parts(
        lambda: Database(config.database_url()),
        {name: partial(Reach, store, name) for name, store in config.s3.each().items()},
        Crane(config.images),
        {name: partial(site, name) for name in config.sites},
    )
    try:
        return check(config, parts, writing=True)
    finally:
        for each in made.values():
            each.close()


def _database(database: Database) -> str:
    database.check()
    return f"{database.name}, schema {database.wanted_version()}"


def _listed(get: Callable[[], Reach]) -> str:
    return list_buckets(get())


def _written(get: Callable[[], Reach], place: str) -> str:
    return write_and_remove(get(), place)


def _slurm(get: Callable[[], Site]) -> str:
    site = get()
    return f"Slurm {site.limits(fresh=True).version}, by {site.backend.name}"


def _work(get: Callable[[], Site]) -> str:
    site = get()
    path = f"{site.work}/{_CHECK_FILE}"
    site.hands.write_files([(path, b"ok")])
    site.hands.remove([path])
    return f"{site.work} can be written"


def _template(section: SiteSection) -> str:
    """Render a script as a small job would have it: a template may be there and still be wrong."""
    script = render(section.template, sample(section))
    if section.backend == "rest":
        job_fields(script)
    return str(template_path(section.template))


def _line(name: str, attempt: Callable[[], str]) -> wire.ReadyLine:
    begin = time.monotonic()
    try:
        detail, ok = attempt(), True
    except (GatewayError, LoginError, SiteError, StoreError, ConfigError, ValueError) as exc:
        detail, ok = str(exc), False
    took = (time.monotonic() - begin) * 1000
    return wire.ReadyLine(name=name, ok=ok, detail=f"{detail} ({took:.0f} ms)")
