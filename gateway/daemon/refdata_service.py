"""Reference data as the API offers it: the registry, with what admins do to it written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway import wire
from gateway.jobs.audit import audited
from gateway.jobs.caller import Caller
from gateway.refdata.registry import RefdataRegistry
from gateway.refdata.views import views
from gateway.store.db import Database
from gateway.store.tables import Refdata


class RefdataService:
    """`wake` is called when the sites have something to do."""

    def __init__(
        self, database: Database, registry: RefdataRegistry, wake: Callable[[], None]
    ) -> None:
        self._db = database
        self._registry = registry
        self._wake = wake

    def everything(self) -> list[wire.Refdata]:
        """List all."""
        return self._views(self._registry.everything())

    def get(self, refdata_id: str) -> wire.Refdata:
        """Find one by its id."""
        return self._views([self._registry.get(refdata_id)])[0]

    def of_path(self, path: str) -> list[wire.Refdata]:
        """List the registrations of an object."""
        return self._views(self._registry.of_path(path))

    def register(
        self, caller: Caller, path: str, *, crc64nvme: str | None, unpack: bool, force: bool
    ) -> wire.Refdata:
        """Record an object; the sites stage it."""
        with self._audited(caller, "refdata.register", path):
            row = self._registry.register(
                path, caller.user, crc64nvme=crc64nvme, unpack=unpack, force=force
            )
        return self._views([row])[0]

    def recover(self, caller: Caller, refdata_id: str, site: str) -> None:
        """Have a site stage it again."""
        with self._audited(caller, "refdata.recover", f"{refdata_id} {site}"):
            self._registry.recover(refdata_id, site)

    def clean(self, caller: Caller, refdata_id: str, site: str, *, force: bool) -> None:
        """Have it removed from a site."""
        with self._audited(caller, "refdata.clean", f"{refdata_id} {site}"):
            self._registry.clean(refdata_id, site, caller.user, force=force)

    def _views(self, rows: Sequence[Refdata]) -> list[wire.Refdata]:
        with self._db.read() as session:
            return views(session, rows)

    @contextmanager
    def _audited(self, caller: Caller, action: str, target: str) -> Iterator[None]:
        with audited(self._db, caller, action, target):
            yield
        self._wake()
