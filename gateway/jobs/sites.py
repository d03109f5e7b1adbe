"""Sites that take jobs, and those that do not: the configuration says it at first, an admin at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlmodel import Session

from gateway import wire
from gateway.config import SiteSection
from gateway.errors import AppCode, GatewayError
from gateway.jobs import resources
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.fields import check_text
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import SiteSwitch

MAX_REASON = 500
_NO_REASON = "switched off"


def why_inactive(session: Session, name: str, section: SiteSection) -> str | None:
    """Return why a site takes no jobs now; None where it does. What an admin has said goes before the configuration."""
    switch = session.get(SiteSwitch, name)
    active = section.active if switch is None else switch.active
    reason = section.inactive_reason if switch is None else switch.reason
    return None if active else reason or _NO_REASON


def require_active(session: Session, name: str, section: SiteSection) -> None:
    """See that a site takes jobs.

    Raises
    ------
    GatewayError
        SITE_INACTIVE, with the reason.
    """
    reason = why_inactive(session, name, section)
    if reason is not None:
        raise GatewayError(
            AppCode.SITE_INACTIVE,
            f"The site {name} takes no jobs now: {reason}.",
        )


class Sites:
    """The sites as the API shows and switches them.

    `trouble(site)` says what its Slurm did not do when it was last asked; `wake(site)` is called for one that is switched on;
    `look()` says what Slurm has at the sites now.
    """

    def __init__(
        self,
        database: Database,
        sections: Mapping[str, SiteSection],
        trouble: Callable[[str], str | None],
        wake: Callable[[str], None],
        look: Callable[[], Mapping[str, wire.SlurmNow]] = lambda: {},
    ) -> None:
        self._db = database
        self._sections = sections
        self._trouble = trouble
        self._wake = wake
        self._look = look

    def listed(self, caller: Caller) -> list[wire.Site]:
        """List the sites, each with what it offers the caller."""
        now = self._look()
        with self._db.read() as session:
            inactive = {
                name: why_inactive(session, name, section)
                for name, section in self._sections.items()
            }
        return [
            _view(name, section, caller, inactive[name], self._trouble(name), now.get(name))
            for name, section in self._sections.items()
        ]

    def switch(self, caller: Caller, name: str, *, active: bool, reason: str | None = None) -> None:
        """Have a site take jobs, or no more of them. To say what holds already is no error, and changes the reason.

        Raises
        ------
        GatewayError
            NOT_FOUND for a site that there is not; ILLEGAL_PARAMETER for a reason that is no line of text.
        """
        if name not in self._sections:
            raise GatewayError(
                AppCode.NOT_FOUND,
                f"There is no site {name[:100]!r}; the sites are {', '.join(sorted(self._sections))}.",
            )
        if reason is not None:
            try:
                reason = check_text(reason.strip(), MAX_REASON)
            except ValueError as exc:
                raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"reason: {exc}") from exc
        with self._db.write() as session:
            row = session.get(SiteSwitch, name) or SiteSwitch(
                site=name, active=active, changed_by=caller.user, changed=now()
            )
            row.active, row.reason = active, reason
            row.changed_by, row.changed = caller.user, now()
            session.add(row)
            result = "ok" if reason is None else f"ok: {reason}"
            audit(session, caller, "site.on" if active else "site.off", name, result)
        if active:
            self._wake(name)


def _view(
    name: str,
    section: SiteSection,
    caller: Caller,
    inactive: str | None,
    wrong: str | None,
    now: wire.SlurmNow | None,
) -> wire.Site:
    return wire.Site(
        cluster=name,
        active=inactive is None,
        available=inactive is None and wrong is None,
        unavailable_reason=inactive or wrong,
        nodes=section.nodes,
        cpus_per_node=section.cpus_per_node,
        memory_per_node_gb=round((section.memory_per_node - section.overhead_memory) / 1e9, 3),
        max_runtime_min=section.max_runtime_min,
        notes=list(section.notes),
        inactive_reason=inactive,
        partitions=[_queue(each, section.partitions) for each in resources.partitions(section)],
        qos=[_queue(each, section.qos_offered) for each in resources.qos(section)],
        accounts=resources.accounts(section, caller),
        reservations=resources.yours(section.reservations, caller),
        features=list(section.features),
        licenses=dict(section.licenses),
        gpus_per_node=section.gpus_per_node,
        nodes_per_container=section.nodes_per_container,
        max_cpu_hours=section.max_cpu_hours,
        slurm=None if now is None else _offered(now, section),
    )


def _offered(now: wire.SlurmNow, section: SiteSection) -> wire.SlurmNow:
    """Leave out the partitions that no job of the gateway goes to: it may name some; without a name it goes to one, too."""
    names = resources.partitions(section)
    found = {each.name: each for each in now.partitions}
    shown = [found[name] for name in names if name in found]
    if section.partition is None:
        shown = [each for each in now.partitions if each.default and each not in shown] + shown
    return now.model_copy(update={"partitions": shown})


def _queue(name: str, minutes: Mapping[str, int]) -> wire.SiteQueue:
    return wire.SiteQueue(name=name, max_runtime_min=minutes.get(name) or None)
