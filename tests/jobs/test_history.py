"""The history of jobs: forward only, each change a row, in the order of time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.history import advance_container, advance_job, follow_containers
from gateway.jobs.states import Phase, may_follow
from gateway.store import jobs as store
from tests.daemon.world import World

PHASES = st.sampled_from(list(Phase))


@given(st.lists(PHASES))
def test_no_order_of_phases_leads_back_or_out_of_an_end(phases: list[Phase]) -> None:
    now = Phase.CREATED
    for phase in phases:
        if may_follow(now, phase):
            assert phase.rank > now.rank
            assert not now.terminal
            now = phase
        elif now.terminal:
            assert not any(may_follow(now, other) for other in Phase)


def test_a_move_is_told_and_written_down_and_none_is_neither(world: World) -> None:
    number = world.add()
    with world.database.write() as session:
        job, container = store.get(session, number), store.containers(session, number)[0]
        assert job is not None
        assert advance_job(session, job, Phase.RUN, "why")
        assert not advance_job(session, job, Phase.PENDING)
        assert advance_container(session, container, Phase.ERROR, "it failed")
        assert not advance_container(session, container, Phase.COMPLETE)
    assert world.phases(number) == ["created", "run"]
    assert [phase for phase, _ in world.history(number, 0)] == ["error"]
    assert world.container(number).ended is not None


def test_a_job_that_ends_waits_for_nothing_any_more(world: World) -> None:
    number = world.add(reason="PENDING: Priority")
    with world.database.write() as session:
        job = store.get(session, number)
        assert job is not None
        advance_job(session, job, Phase.COMPLETE)
    assert world.job(number).reason is None


def test_a_clock_that_is_set_back_does_not_turn_the_history_round(world: World) -> None:
    number = world.add()
    ahead = store.now() + timedelta(hours=1)
    world.change(world.job(number), updated=ahead)
    with world.database.write() as session:
        job = store.get(session, number)
        assert job is not None
        advance_job(session, job, Phase.PENDING)
    assert world.job(number).updated == ahead
    assert world.history(number)[-1] == ("pending", ahead)


@pytest.mark.parametrize(
    ("containers", "job"),
    [
        (["created", "created"], "created"),
        (["pending", "submitting"], "created"),
        (["pending", "pending"], "pending"),
        (["stage-in", "pending"], "stage-in"),
        (["run", "pending"], "run"),
        (["stage-out", "pending"], "run"),
        (["stage-out", "settling"], "stage-out"),
        (["settling", "settling"], "settling"),
        (["complete", "run"], "run"),
        (["error", "run"], "run"),
        (["error", "stage-out"], "stage-out"),
        (["complete", "complete"], "settling"),
        (["complete", "error"], "failing"),
        (["canceled", "canceled"], "settling"),
        (["canceling", "pending"], "run"),
    ],
)
def test_a_job_is_where_its_containers_are(world: World, containers: list[str], job: str) -> None:
    number = world.add(len(containers))
    for row, phase in zip(world.containers(number), containers, strict=True):
        world.change(row, phase=phase)
    with world.database.write() as session:
        found = store.get(session, number)
        assert found is not None
        follow_containers(session, found)
    assert world.job(number).phase == job
