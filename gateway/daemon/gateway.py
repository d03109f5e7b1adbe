"""The whole daemon: database, stores, sites, services and loops, put together and supervised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from gateway import __version__, wire
from gateway.config import Config
from gateway.daemon.clean import Cleaner
from gateway.daemon.loops import Loop
from gateway.daemon.mailbox import Mailbox
from gateway.daemon.poll import Poller
from gateway.daemon.site import Site, make_site
from gateway.daemon.submit import Submitter
from gateway.errors import ConfigError, GatewayError, SiteError, StoreError
from gateway.ids import JobRef
from gateway.images.crane import Crane
from gateway.images.service import ImageRegistry
from gateway.jobs import access, views
from gateway.jobs.caller import Caller
from gateway.jobs.service import JobService
from gateway.jobs.services import Services
from gateway.reports import acct
from gateway.s3.client import ObjectStore
from gateway.slurm.render import template_path
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Audit

log = structlog.get_logger()


class Gateway:
    """The daemon without its listeners.

    Raises
    ------
    ConfigError, StoreError
        When it cannot start: a bad setting, a database of another version.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.database = Database(config.database_url())
        self.database.check()
        self.objects = ObjectStore(config.s3)
        self.crane = Crane(config.images)
        self.registry = ImageRegistry(self.database, self.crane)
        self.sites = {name: make_site(name, section) for name, section in config.sites.items()}
        for section in config.sites.values():
            template_path(section.template)
        self._stop = threading.Event()
        self.loops = [loop for site in self.sites.values() for loop in self._loops(site)]
        jobs = JobService(
            config, self.database, self.objects, self.registry, self._read_log, self._wake
        )
        self.services = Services(jobs, _Images(self), _Info(self))

    def _loops(self, site: Site) -> list[Loop]:
        submitter = Submitter(self.config, self.database, site)
        poller = Poller(self.config, self.database, self.objects, site)
        mailbox = Mailbox(self.config, self.database, self.objects, site)
        cleaner = Cleaner(self.database, site)
        return [
            Loop(f"submit:{site.name}", submitter.tick, site.submit_wake, self._stop),
            Loop(f"poll:{site.name}", poller.tick, site.poll_wake, self._stop),
            Loop(f"mailbox:{site.name}", mailbox.tick, site.mail_wake, self._stop),
            Loop(f"clean:{site.name}", cleaner.tick, threading.Event(), self._stop),
        ]

    def start(self) -> None:
        """Start the loops; those of jobs that were under way go on where they were."""
        for loop in self.loops:
            loop.start()

    def close(self) -> None:
        """Stop the loops and give everything back."""
        self._stop.set()
        for loop in self.loops:
            loop.wake.set()
        for loop in self.loops:
            loop.join(10)
        for site in self.sites.values():
            site.close()
        self.database.close()

    def _wake(self, name: str) -> None:
        site = self.sites[name]
        site.submit_wake.set()
        site.poll_wake.set()

    def _read_log(
        self, site: str, job_id: int, container: int, stream: str, seek: int, length: int | None
    ) -> tuple[bytes, int] | None:
        hands = self.sites[site].hands
        path = f"{self.sites[site].container_dir(job_id, container)}/{stream}"
        size = hands.size(path)
        if size is None:
            return None
        pieces: list[bytes] = []
        left = max(0, size - seek) if length is None else min(length, max(0, size - seek))
        while left > 0:
            piece = hands.read_file(path, seek, min(left, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            seek += len(piece)
            left -= len(piece)
        return b"".join(pieces), size


class _Images:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def everything(self) -> list[wire.Image]:
        return [views.image(row) for row in self._gateway.registry.everything()]

    def get(self, name: str) -> wire.Image:
        return views.image(self._gateway.registry.get(name))

    def approve(self, caller: Caller, name: str) -> wire.Image:
        result = "ok"
        try:
            return views.image(self._gateway.registry.approve(name, caller.user))
        except GatewayError as exc:
            result = exc.message
            raise
        finally:
            with self._gateway.database.write() as session:
                session.add(
                    Audit(
                        time=now(),
                        user=caller.user,
                        origin=caller.origin,
                        action="image.approve",
                        target=name[:1000],
                        result=result,
                    )
                )


class _Info:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def root(self) -> wire.Root:
        section = self._gateway.config.gateway
        return wire.Root(
            service_name=section.name,
            version=__version__,
            git_hash="",
            server_time=datetime.now(UTC),
            notes=section.notes or "",
        )

    def whoami(self, caller: Caller) -> wire.WhoAmI:
        paths = access.allowed_paths(self._gateway.config.path_rules, caller)
        return wire.WhoAmI(
            user=caller.user, roles=["admin"] if caller.admin else ["user"], allowed_paths=paths
        )

    def sites(self) -> list[wire.Site]:
        found = []
        for name, site in self._gateway.sites.items():
            section = site.section
            trouble = next(
                (x.last_error for x in self._gateway.loops if x.name == f"poll:{name}"), None
            )
            found.append(
                wire.Site(
                    cluster=name,
                    active=section.active,
                    available=section.active and trouble is None,
                    unavailable_reason=trouble
                    if section.active
                    else section.inactive_reason or "switched off",
                    nodes=section.nodes,
                    cpus_per_node=section.cpus_per_node,
                    memory_per_node_gb=round(
                        (section.memory_per_node - section.overhead_memory) / 1e9, 3
                    ),
                    max_runtime_min=section.max_runtime_min,
                    notes=list(section.notes),
                )
            )
        return found

    def ready(self) -> wire.Ready:
        checks = check_all(self._gateway)
        return wire.Ready(ready=all(line.ok for line in checks), checks=checks)

    def accounting(
        self,
        caller: Caller,
        *,
        users: Sequence[str],
        everyone: bool,
        start: datetime | None,
        end: datetime | None,
        states: Sequence[str],
        refs: Sequence[JobRef],
        limit: int,
    ) -> list[wire.AcctRow]:
        whose: str | None = caller.user
        if caller.admin and (everyone or users):
            whose = users[0] if users else None
        accounts = {name: site.section.account for name, site in self._gateway.sites.items()}
        with self._gateway.database.read() as session:
            return acct.rows(
                session,
                user=whose,
                start=start,
                end=end,
                states=states,
                refs=refs,
                limit=limit,
                accounts=accounts,
            )


def check_all(gateway: Gateway) -> list[wire.ReadyLine]:
    """Try each thing that the gateway depends on."""

    def database() -> str:
        gateway.database.check()
        return f"{gateway.database.name}, schema {gateway.database.wanted_version()}"

    def objects() -> str:
        return f"{len(gateway.objects.buckets())} buckets listed"

    lines = [
        _line("database", database),
        _line("s3", objects),
        _line("crane", gateway.crane.version),
    ]
    for name, site in gateway.sites.items():
        lines.append(_line(f"site {name}: slurm", partial(_slurm, site)))
        lines.append(_line(f"site {name}: work directory", partial(_work, site)))
        lines.append(_line(f"site {name}: template", partial(_template, site)))
    return lines


def _slurm(site: Site) -> str:
    return f"Slurm {site.limits(fresh=True).version}"


def _template(site: Site) -> str:
    return str(template_path(site.section.template))


def _work(site: Site) -> str:
    site.hands.write_files([(f"{site.work}/.check", b"ok")])
    site.hands.remove([f"{site.work}/.check"])
    return f"{site.work} can be written"


def _line(name: str, check: Callable[[], str]) -> wire.ReadyLine:
    begin = time.monotonic()
    try:
        detail, ok = check(), True
    except (GatewayError, SiteError, StoreError, ConfigError) as exc:
        detail, ok = str(exc), False
    return wire.ReadyLine(
        name=name, ok=ok, detail=f"{detail} ({(time.monotonic() - begin) * 1000:.0f} ms)"
    )
