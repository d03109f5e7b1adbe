"""What the API is given: the services behind its routes, as protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway import wire
from gateway.ids import JobRef
from gateway.jobs.caller import Caller
from gateway.jobs.service import JobService


class ImageService(Protocol):
    """Approved images."""

    def everything(self) -> list[wire.Image]:
        """List them."""

    def get(self, name: str) -> wire.Image:
        """Find one by a name as users write it."""

    def approve(self, caller: Caller, name: str) -> wire.Image:
        """Look one up in its registry and record it."""


class InfoService(Protocol):
    """The gateway itself, its sites and its accounting."""

    def root(self) -> wire.Root:
        """Say what this service is."""

    def whoami(self, caller: Caller) -> wire.WhoAmI:
        """Say who the caller is here."""

    def sites(self) -> list[wire.Site]:
        """List the sites."""

    def ready(self) -> wire.Ready:
        """Check each thing that the gateway depends on."""

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
        """Return accounting rows that the caller may see."""


@dataclass(frozen=True)
class Services:
    """All of them."""

    jobs: JobService
    images: ImageService
    info: InfoService
