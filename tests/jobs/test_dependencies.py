"""Which jobs a job may wait for."""

from __future__ import annotations

import pytest
from sqlmodel import select

from gateway.errors import AppCode
from gateway.store.tables import JobDependency
from tests.daemon.world import ADA, World
from tests.jobs.test_admission import Desk


@pytest.fixture
def desk(world: World) -> Desk:
    """Admission as it comes."""
    return Desk(world)


def _refused(desk: Desk, other: int, condition: str = "afterok") -> tuple[AppCode, str]:
    before = desk.rows()
    with pytest.raises(Exception, match=r"depends_on\[0\]: ") as caught:
        desk.admit(depends_on=[{"job_id": str(other), "condition": condition}])
    assert desk.rows() == before
    return caught.value.code, caught.value.message  # type: ignore[attr-defined]


def test_a_job_waits_for_others_of_its_user(desk: Desk) -> None:
    one, two = desk.world.add(), desk.world.add()
    both = {"job_id": str(two), "condition": "afterany"}
    job = desk.admit(depends_on=[{"job_id": str(one)}, both, both])
    with desk.world.database.read() as session:
        rows = session.exec(select(JobDependency)).all()
    found = [(row.job_id, row.on_job_id, row.condition) for row in rows]
    assert found == [(job.id, one, "afterok"), (job.id, two, "afterany")]


def test_what_is_no_job_of_the_user_is_refused_whosever_it_is(desk: Desk) -> None:
    his = desk.world.add(user="bob")
    assert _refused(desk, 999)[0] is AppCode.NO_SUCH_JOB
    assert _refused(desk, his)[0] is AppCode.NO_SUCH_JOB
    with pytest.raises(Exception, match="There is no job"):
        desk.admit(ADA, depends_on=[{"job_id": str(his)}])


@pytest.mark.parametrize("end", ["error", "canceled"])
def test_what_can_complete_no_more_is_refused_and_any_end_will_do(desk: Desk, end: str) -> None:
    other = desk.world.add(phase=end)
    code, said = _refused(desk, other)
    assert code is AppCode.INVALID_JOB_STATE
    assert f"its state is {end}" in said
    assert desk.admit(depends_on=[{"job_id": str(other), "condition": "afterany"}]).id


def test_what_is_complete_is_no_wait(desk: Desk) -> None:
    other = desk.world.add(phase="complete")
    assert desk.admit(depends_on=[{"job_id": str(other)}]).id
