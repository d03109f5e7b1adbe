"""Sites are switched off and on with a reason; the database keeps it, and the configuration is the default."""

from __future__ import annotations

import pytest
from sqlmodel import select

from gateway.errors import AppCode, GatewayError
from gateway.jobs.sites import Sites, why_inactive
from gateway.store import jobs as store
from gateway.store.submissions import submissions
from gateway.store.tables import Audit, SiteSwitch
from tests.daemon.world import ADA, ALICE, World


class Panel:
    """The sites of a world."""

    def __init__(self, world: World, **site: object) -> None:
        self.world = world
        self.section = world.config.sites["dev"].model_copy(update=site)
        self.woken: list[str] = []
        self.sites = Sites(world.database, {"dev": self.section}, lambda _: None, self.woken.append)

    def why(self) -> str | None:
        with self.world.database.read() as session:
            return why_inactive(session, "dev", self.section)


def test_a_site_is_as_configured_until_an_admin_says_otherwise(world: World) -> None:
    assert Panel(world).why() is None
    panel = Panel(world, active=False, inactive_reason="not bought yet")
    assert panel.why() == "not bought yet"
    panel.sites.switch(ADA, "dev", active=True)
    assert panel.why() is None
    assert panel.woken == ["dev"]
    # Another daemon, later: the database keeps it.
    assert Panel(world, active=False).why() is None


def test_one_that_is_switched_off_says_why_and_is_not_available(world: World) -> None:
    panel = Panel(world)
    panel.sites.switch(ADA, "dev", active=False, reason=" maintenance until noon ")
    shown = panel.sites.listed(ALICE)[0]
    assert (shown.active, shown.available) == (False, False)
    assert shown.inactive_reason == shown.unavailable_reason == "maintenance until noon"
    panel.sites.switch(ADA, "dev", active=False)
    assert panel.why() == "switched off"
    assert panel.woken == []


def test_every_switch_is_a_row_of_the_audit(world: World) -> None:
    panel = Panel(world)
    panel.sites.switch(ADA, "dev", active=False, reason="x")
    panel.sites.switch(ADA, "dev", active=True)
    with world.database.read() as session:
        rows = [
            (row.user, row.action, row.target, row.result) for row in session.exec(select(Audit))
        ]
        switch = session.get(SiteSwitch, "dev")
    assert rows == [("ada", "site.off", "dev", "ok: x"), ("ada", "site.on", "dev", "ok")]
    assert switch is not None
    assert (switch.active, switch.reason, switch.changed_by) == (True, None, "ada")


@pytest.mark.parametrize("reason", ["", "a\nb", "x" * 501])
def test_a_reason_is_a_line_of_text(world: World, reason: str) -> None:
    panel = Panel(world)
    with pytest.raises(GatewayError) as caught:
        panel.sites.switch(ADA, "dev", active=False, reason=reason)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    assert panel.why() is None


def test_a_site_that_there_is_not_is_told_with_those_that_are(world: World) -> None:
    with pytest.raises(GatewayError) as caught:
        Panel(world).sites.switch(ADA, "mars", active=True)
    assert caught.value.code is AppCode.NOT_FOUND
    assert caught.value.message == "There is no site 'mars'; the sites are dev."


def test_the_list_has_what_a_site_offers_the_caller(world: World) -> None:
    panel = Panel(
        world,
        account="dev",
        accounts={"lab": ("ada",)},
        partition="regular",
        partitions={"debug": 20},
    )
    shown = panel.sites.listed(ALICE)[0]
    assert shown.accounts == ["dev"]
    assert panel.sites.listed(ADA)[0].accounts == ["dev", "lab"]
    assert [(each.name, each.max_runtime_min) for each in shown.partitions] == [
        ("regular", None),
        ("debug", 20),
    ]


def test_jobs_that_slurm_has_not_got_wait_for_the_site_and_say_so(world: World) -> None:
    panel = Panel(world)
    running, _ = world.submit()
    held, canceled = world.add(), world.add()
    panel.sites.switch(ADA, "dev", active=False, reason="broken")
    world.cancel(canceled)
    world.submitter.tick()
    with world.database.read() as session:
        jobs = {number: store.get(session, number) for number in (running, held, canceled)}
        assert [job.reason for job in jobs.values() if job] == [None, "the site dev takes no jobs now: broken", None]  # fmt: skip
        assert jobs[held].phase == "created"  # type: ignore[union-attr]
        assert submissions(session, held) == []
    panel.sites.switch(ADA, "dev", active=True)
    world.submitter.tick()
    with world.database.read() as session:
        job = store.get(session, held)
        assert job is not None
        assert (job.phase, job.reason) == ("pending", None)
