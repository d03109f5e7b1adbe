"""News in any order: phases only move forward, an end is an end, the history is in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, SiteError
from gateway.jobs.states import Phase
from gateway.slurm.states import TABLE
from gateway.store.tables import Container, Job
from tests.daemon.world import World, announced

TASKS = 2
STATES = st.sampled_from([*TABLE, "CANCELLED by 0", "OUT_OF_ME+", "NEW_STATE"])
INDEX = st.integers(0, TASKS - 1)
OUTCOMES = st.sampled_from(["ok", "container-failed", "timeout", "canceled", "stage-out-failed"])

NEWS = st.one_of(
    st.tuples(st.just("squeue"), INDEX, STATES),
    st.tuples(st.just("sacct"), INDEX, STATES),
    st.tuples(st.just("phase"), INDEX, st.sampled_from(["stage-in", "run", "stage-out"])),
    st.tuples(st.just("result"), INDEX, OUTCOMES),
    st.tuples(st.just("announce"), INDEX, st.booleans()),
    st.tuples(st.just("forget"), INDEX, st.none()),
    st.tuples(st.just("cancel"), INDEX, st.none()),
    st.tuples(st.just("away"), INDEX, st.sampled_from(["queue", "accounting", "cancel", "s3", ""])),
    st.tuples(st.just("restart"), INDEX, st.none()),
    st.tuples(st.just("time"), INDEX, st.sampled_from([1, 25, 65])),
)


def _tell(world: World, number: int, kind: str, index: int, value: Any) -> None:
    slurm = "100"
    if kind == "squeue":
        world.slurm.set(slurm, index, value)
    elif kind == "sacct":
        world.slurm.record(slurm, index, value)
    elif kind == "phase":
        world.letter(number, "phase", index, phase=value, host="n9")
    elif kind == "result":
        world.result(number, index, value, exit_code=0 if value == "ok" else 1)
        world.letter(number, "result", index)
    elif kind == "announce":
        world.letter(
            number, "stage-out", index, outputs=[announced(f"o{index}", b"x" if value else b"y")]
        )
    elif kind == "forget":
        world.slurm.forget(slurm)
    elif kind == "cancel":
        with suppress(GatewayError):
            world.cancel(number)
    elif kind == "away":
        world.slurm.away, world.store.away = {value}, value == "s3"
    elif kind == "restart":
        world.restart()
    else:
        world.clock.forward(value)


def _look(world: World) -> None:
    for tick in (world.mailbox.tick, world.poller.tick):
        with suppress(SiteError):
            tick()


def _shown(row: Job | Container) -> dict[str, Any]:
    """Everything of a row but what the accounting adds after the end."""
    later = {"usage", "usage_final", "cpu_hours", "cpu_factor", "max_memory", "updated"}
    return {name: value for name, value in row.model_dump().items() if name not in later}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(news=st.lists(NEWS, min_size=4, max_size=12))
def test_whatever_comes_in_whatever_order_nothing_goes_back_and_an_end_is_never_changed(
    shared: World, news: list[tuple[str, int, Any]]
) -> None:
    world = shared
    number = _fresh(world)
    ended: dict[int | None, dict[str, Any]] = {}
    for kind, index, value in news:
        _tell(world, number, kind, index, value)
        _look(world)
        rows: list[Job | Container] = [world.job(number), *world.containers(number)]
        for row in rows:
            which = row.index if isinstance(row, Container) else None
            if which in ended:
                assert _shown_small(row) == ended[which], (kind, index, value)
            elif Phase.of(row.phase).terminal:
                ended[which] = _shown_small(row)
    for which in (None, *range(TASKS)):
        history = world.history(number, which)
        ranks = [Phase.of(phase).rank for phase, _ in history]
        assert ranks == sorted(set(ranks))
        times = [time for _, time in history]
        assert times == sorted(times)
    world.slurm.away, world.store.away = set(), False
    for task in range(TASKS):
        world.slurm.set("100", task, "FAILED")
    for _ in range(4):
        world.clock.forward(31)
        _look(world)
    assert Phase.of(world.job(number).phase).terminal
    assert len(world.slurm.jobs) == 1


def _shown_small(row: Job | Container) -> dict[str, Any]:
    if isinstance(row, Job):
        return _shown(row)
    names = ("phase", "exit_code", "signal", "error", "node", "slurm_state", "result", "ended")
    return {name: getattr(row, name) for name in names}


@pytest.fixture
def shared(make_world: Callable[..., World]) -> World:
    """One world for all examples: each ends its job, and begins with a Slurm that knows nothing.

    Containers that are run again begin anew: that is for other tests.
    """
    return make_world(max_requeues=0)


def _fresh(world: World) -> int:
    world.slurm.__init__()  # type: ignore[misc]
    world.store.heal()
    world.restart()
    return world.submit(TASKS)[0]


def test_a_late_letter_changes_nothing_of_a_container_that_has_ended(world: World) -> None:
    number, slurm = world.submit()
    world.result(number, outcome="container-failed", exit_code=1)
    world.slurm.set(slurm, 0, "FAILED", node="n1")
    other, _ = world.submit()  # keeps the mailbox open
    world.settle()
    before = world.container(number)
    world.letter(number, "phase", phase="run", host="n7")
    world.result(number, exit_code=0)
    world.letter(number, "result")
    assert world.ask(number, "stage-in", inputs=[1])["error"] == "the job has ended"
    assert world.container(number) == before
    assert world.letters() == []
    assert world.job(other).phase == "pending"
