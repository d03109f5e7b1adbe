"""A request that comes twice with one key makes one job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select

from gateway.errors import AppCode, GatewayError
from gateway.jobs.idempotency import KEPT, KeyCleaner, digest_of
from gateway.store.tables import IdempotencyKey, Job
from tests.daemon.world import ALICE, BOB, World
from tests.jobs.test_admission import Desk


@pytest.fixture
def desk(world: World) -> Desk:
    """Admission as it comes."""
    return Desk(world)


def _jobs(world: World) -> int:
    with world.database.read() as session:
        return len(session.exec(select(Job.id)).all())


def _age(world: World, by: timedelta) -> None:
    with world.database.write() as session:
        for row in session.exec(select(IdempotencyKey)):
            row.created -= by
            session.add(row)


def test_the_same_key_and_body_is_the_first_job(desk: Desk) -> None:
    first = desk.admit(key="k")
    assert desk.admit(key="k").id == first.id
    assert desk.admit().id != first.id
    assert desk.admit(key="other").id != first.id
    assert desk.admit(BOB, key="k").id != first.id
    assert _jobs(desk.world) == 4


def test_the_same_key_with_another_body_is_refused_with_the_job_it_made(desk: Desk) -> None:
    first = desk.admit(key="k")
    with pytest.raises(GatewayError, match=f"made job {first.id}; use a new key") as caught:
        desk.admit(key="k", name="x")
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    assert _jobs(desk.world) == 1


def test_the_order_of_names_makes_no_other_body() -> None:
    assert digest_of({"a": 1, "b": {"c": [1], "d": 2}}) == digest_of(
        {"b": {"d": 2, "c": [1]}, "a": 1}
    )
    assert digest_of({"a": [1, 2]}) != digest_of({"a": [2, 1]})


def test_a_request_that_is_refused_leaves_no_key(desk: Desk) -> None:
    with pytest.raises(GatewayError):
        desk.admit(key="k", cpus=1000)
    assert desk.admit(key="k").id is not None


def test_requests_that_come_at_one_time_make_one_job(desk: Desk) -> None:
    body = desk.body()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: desk._admission.admit(ALICE, body, "k").id, range(8)))
    assert len(found) == 1
    assert _jobs(desk.world) == 1


def test_a_key_holds_for_a_day_and_is_removed_then(desk: Desk) -> None:
    first = desk.admit(key="k")
    cleaner = KeyCleaner(desk.world.database)
    _age(desk.world, KEPT - timedelta(minutes=1))
    cleaner.tick()
    assert desk.admit(key="k").id == first.id
    _age(desk.world, timedelta(minutes=1))
    second = desk.admit(key="k", name="x")  # not removed yet, and free all the same
    assert second.id != first.id
    assert desk.admit(key="k", name="x").id == second.id
    _age(desk.world, KEPT)
    assert cleaner.tick() > 0
    with desk.world.database.read() as session:
        assert session.exec(select(IdempotencyKey)).all() == []
