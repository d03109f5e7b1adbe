"""The whole daemon: database, stores, sites, services and loops, put together and supervised."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from gateway import __version__, commit, wire
from gateway.config import Config
from gateway.daemon.check import Parts, check
from gateway.daemon.clean import Cleaner
from gateway.daemon.dryrun import scripts
from gateway.daemon.events import Dispatcher
from gateway.daemon.image_cache import ImageCaches
from gateway.daemon.image_service import ImageService
from gateway.daemon.image_stager import ImageStager
from gateway.daemon.job_admin import JobAdmin
from gateway.daemon.late_inputs import LateInputs
from gateway.daemon.logs import LogKeeper, LogRoad
from gateway.daemon.loops import Loop
from gateway.daemon.mailbox import Mailbox
from gateway.daemon.measured import MeasuredBackend
from gateway.daemon.metrics import Metrics
from gateway.daemon.node_requests import NodeRequests
from gateway.daemon.outlook import Looker, expected_start, look
from gateway.daemon.poll import Poller
from gateway.daemon.progress import ProgressRoad
from gateway.daemon.refdata import Stager
from gateway.daemon.refdata_service import RefdataService
from gateway.daemon.request_service import RequestService
from gateway.daemon.site import Site, make_site
from gateway.daemon.skipping import Skipper
from gateway.daemon.submit import Submitter
from gateway.daemon.subscribers import Roads, synchronise
from gateway.daemon.templates import Templates
from gateway.images.crane import Crane
from gateway.images.service import ImageRegistry
from gateway.images.staging import ImageStaging
from gateway.jobs import access
from gateway.jobs.admission import Admission
from gateway.jobs.caller import Caller
from gateway.jobs.events import Events
from gateway.jobs.feed import Feed
from gateway.jobs.files import Files
from gateway.jobs.idempotency import KeyCleaner
from gateway.jobs.restarts import Restarts
from gateway.jobs.service import JobService
from gateway.jobs.services import Services
from gateway.jobs.sites import Sites, why_inactive
from gateway.jobs.tokens import Tokens
from gateway.jobs.webhooks import Webhooks
from gateway.refdata.registry import RefdataRegistry
from gateway.reports import acct
from gateway.s3.client import ObjectStore
from gateway.slurm.render import template_path
from gateway.store.db import Database
from gateway.store.listing import Reader
from gateway.store.tables import Job

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
        self.metrics = Metrics()
        self.metrics.watch_database(self.database)
        for name in config.s3.each():
            self.metrics.watch_store(name, self.objects)
        self.crane = Crane(config.images)
        platforms = {name: section.platform for name, section in config.sites.items()}
        self.registry = ImageRegistry(self.database, self.crane, platforms)
        self.sites = {name: make_site(name, section) for name, section in config.sites.items()}
        for name, site in self.sites.items():
            site.backend = MeasuredBackend(site.backend, name, self.metrics)
        for section in config.sites.values():
            template_path(section.template)
        self.templates = Templates(self.database, self.sites)
        lookers = [Looker(site) for site in self.sites.values()]
        known = {each.name: each for each in lookers}
        self.site_list = Sites(
            self.database, config.sites, self.trouble, self._wake_all, lambda: look(lookers)
        )
        self._stop = threading.Event()
        self.events_wake = threading.Event()
        self._roads = Roads(config)
        synchronise(self.database, config)
        feed = Feed(self.database)
        self.database.on_commit = self.events_wake.set
        self._dispatcher = Dispatcher(
            self.database,
            feed,
            self._roads,
            timedelta(hours=config.webhooks.give_up_hours),
            self.events_wake,
        )
        self._caches = ImageCaches(self.database, self.sites)
        self.loops = [loop for site in self.sites.values() for loop in self._loops(site)]
        for each in lookers:
            each.want()
        self.loops += [
            Loop(f"look:{each.name}", each.tick, self.sites[each.name].look_wake, self._stop)
            for each in lookers
        ]
        keys = KeyCleaner(self.database)
        self.loops.append(Loop("keys", keys.tick, threading.Event(), self._stop))
        self.loops.append(
            Loop("events", self._dispatcher.tick, self.events_wake, self._stop, rest=1)
        )
        jobs = JobService(
            self.database,
            Admission(
                *(config, self.database, self.objects, self.registry, self._start, self.trouble),
                lambda name: known[name].known(),
            ),
            LogRoad(self.database, self.objects, self.sites),
            self._wake,
            self.trouble,
            lambda name: self.sites[name].waits if name in self.sites else {},
            self._scripts,
            ProgressRoad(self.sites),
        )
        public = (
            self.objects if config.s3.public() == config.s3 else ObjectStore(config.s3.public())
        )
        files = Files(config, self.database, self.objects, public)
        self.loops.append(Loop("files", files.tick, threading.Event(), self._stop))
        tokens = Tokens(self.database, config.api.token_max_days)
        refdata = RefdataRegistry(self.database, self.objects, self.sites)
        staging = ImageStaging(self.database, self.registry, platforms, self._active)
        images = ImageService(self.database, self.registry, staging, refdata, self._wake_images)
        data = RefdataService(self.database, refdata, self._wake_refdata)
        for loop in self.loops:
            self.metrics.watch_loop(loop)
        self.services = Services(
            jobs,
            images,
            _Info(self),
            tokens,
            data,
            files,
            JobAdmin(self.database, jobs, self.sites, self.events_wake.set),
            Events(feed, jobs.status),
            Webhooks(self.database, config.webhooks, self._roads.probe, self.events_wake.set),
            RequestService(self.database, self.objects, config.path_rules, images, data),
            Restarts(self.database, self._wake),
            NodeRequests(
                *(config, self.database, self.objects),
                lambda site, seconds: self.metrics.granted(site, "tls", seconds),
            ),
            self._caches,
            self.metrics,
        )
        self.parts = Parts(
            lambda: self.database,
            {name: partial(self.objects.store, name) for name in config.s3.each()},
            self.crane,
            {name: partial(self.sites.__getitem__, name) for name in self.sites},
        )

    def _loops(self, site: Site) -> list[Loop]:
        submitter = Submitter(self.config, self.database, site)
        poller = Poller(
            self.database,
            self.objects,
            site,
            on_end=lambda container: self.metrics.ended(site.name, container.result or {}),
        )
        mailbox = Mailbox(
            self.config,
            self.database,
            self.objects,
            site,
            on_answer=partial(self.metrics.granted, site.name, "mailbox"),
        )
        area = self.config.s3.log_bucket_prefix
        cleaner = Cleaner(self.database, site, uploads=area is not None)
        stager = Stager(self.database, site)
        keepers = []
        if area is not None:
            keeper = LogKeeper(self.database, self.objects, site, area)
            keepers = [Loop(f"logs:{site.name}", keeper.tick, site.log_wake, self._stop)]
        skipper = Skipper(self.database, self.objects, site)
        late = LateInputs(self.database, self.objects, site)
        cache = partial(self._caches.tick, site.name)
        images = ImageStager(self.database, site, self.registry)
        return [
            Loop(f"submit:{site.name}", submitter.tick, site.submit_wake, self._stop),
            Loop(f"skip:{site.name}", skipper.tick, site.skip_wake, self._stop),
            Loop(f"inputs:{site.name}", late.tick, site.inputs_wake, self._stop),
            Loop(f"poll:{site.name}", poller.tick, site.poll_wake, self._stop, rest=4),
            Loop(f"mailbox:{site.name}", mailbox.tick, site.mail_wake, self._stop),
            Loop(f"clean:{site.name}", cleaner.tick, site.clean_wake, self._stop),
            Loop(f"refdata:{site.name}", stager.tick, site.refdata_wake, self._stop),
            *keepers,
            Loop(f"cache:{site.name}", cache, threading.Event(), self._stop),
            Loop(f"images:{site.name}", images.tick, site.images_wake, self._stop),
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
        self._dispatcher.close()
        self._roads.close()
        for site in self.sites.values():
            site.close()
        self.database.close()

    def trouble(self, name: str) -> str | None:
        """Return what a site's Slurm did not do when it was last asked; None when all was well."""
        loops = (f"submit:{name}", f"poll:{name}")
        errors = (loop.last_error for loop in self.loops if loop.name in loops)
        return next((error for error in errors if error is not None), None)

    def _scripts(self, job: Job) -> list[str]:
        return scripts(self.config, self.sites[job.site], job)

    def _start(self, job: Job) -> datetime | None:
        return expected_start(self.config, self.database, self.sites[job.site], job)

    def _wake(self, name: str) -> None:
        site = self.sites.get(name)
        if site is not None:  # else it is not in the configuration any more
            site.submit_wake.set()
            site.skip_wake.set()
            site.inputs_wake.set()
            site.poll_wake.set()

    def _wake_all(self, name: str) -> None:
        self._wake(name)
        self.sites[name].refdata_wake.set()

    def _wake_refdata(self) -> None:
        for site in self.sites.values():
            site.refdata_wake.set()

    def _active(self, name: str) -> bool:
        with self.database.read() as session:
            return why_inactive(session, name, self.config.sites[name]) is None

    def _wake_images(self) -> None:
        for site in self.sites.values():
            site.images_wake.set()


class _Info:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def root(self) -> wire.Root:
        section = self._gateway.config.gateway
        return wire.Root(
            service_name=section.name,
            version=__version__,
            git_hash=commit(),
            server_time=datetime.now(UTC),
            notes=section.notes or "",
        )

    def whoami(self, caller: Caller) -> wire.WhoAmI:
        paths = access.allowed_paths(self._gateway.config.path_rules, caller)
        return wire.WhoAmI(
            user=caller.user, roles=["admin"] if caller.admin else ["user"], allowed_paths=paths
        )

    def sites(self, caller: Caller) -> list[wire.Site]:
        return self._gateway.site_list.listed(caller)

    def switch_site(
        self, caller: Caller, name: str, *, active: bool, reason: str | None = None
    ) -> None:
        self._gateway.site_list.switch(caller, name, active=active, reason=reason)

    def check_template(self, caller: Caller, name: str, template: str | None) -> wire.TemplateCheck:
        return self._gateway.templates.check(caller, name, template)

    def ready(self) -> wire.Ready:
        checks = check(self._gateway.config, self._gateway.parts)
        return wire.Ready(ready=all(line.ok for line in checks), checks=checks)

    def accounting(
        self,
        caller: Caller,
        *,
        users: Sequence[str],
        everyone: bool,
        wanted: acct.Wanted,
    ) -> list[wire.AcctRow]:
        whose: str | None = caller.user
        if caller.admin and (everyone or users):
            whose = users[0] if users else None
        with self._gateway.database.read() as session:
            return acct.rows(
                session, replace(wanted, user=whose), Reader(caller.user, caller.groups)
            )
