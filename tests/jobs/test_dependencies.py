"""Which jobs a job may wait for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from gateway.errors import AppCode, GatewayError
from gateway.store import jobs as store
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


def _out(desk: Desk, name: str) -> str:
    return f"{desk.bucket}/{desk.world.prefix}{name}"


@pytest.mark.parametrize("condition", ["afterok", "afterany"])
@pytest.mark.parametrize(
    "fields",
    [
        {"input_files": ["one/x", "one/y"], "num_containers": 2},
        {"input_files": None, "input_dirs": ["one"]},
        {"input_files": None, "input_dirs": ["one/deeper/"]},
        {"input_files": None, "input_globs": ["one/*.txt"]},
        {"shared_inputs": ["one/index"]},
    ],
)
def test_a_job_may_name_inputs_that_those_it_waits_for_are_yet_to_write(
    desk: Desk, condition: str, fields: dict[str, Any]
) -> None:
    one = desk.world.add(output_dir=_out(desk, "one/"))
    given = {
        key: [_out(desk, name) for name in value] if isinstance(value, list) else value
        for key, value in fields.items()
    }
    wanted: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if fields.get("input_files", ()) is None:
        wanted["input_files"] = [desk.file("there.txt")]
    job = desk.admit(depends_on=[{"job_id": str(one), "condition": condition}], **wanted)
    with desk.world.database.read() as session:
        assert store.containers(session, job.id or 0) == []
        assert store.unplanned(session, "dev") == [job.id]
    assert (job.num_containers, job.input_bytes) == (fields.get("num_containers", 1), 0)


def test_the_other_inputs_of_such_a_job_are_looked_at_and_its_plan_is_checked(desk: Desk) -> None:
    one = desk.world.add(output_dir=_out(desk, "one/"))
    wait = [{"job_id": str(one)}]
    before = desk.rows()
    for code, names in (
        (AppCode.S3_PATH_NOT_FOUND, ["one/x", "typo"]),
        (AppCode.S3_PATH_NOT_FOUND, ["ones/x"]),
        (AppCode.ILLEGAL_PARAMETER, ["one/x", "one/deep/x"]),
    ):
        with pytest.raises(GatewayError) as caught:
            desk.admit(depends_on=wait, input_files=[_out(desk, name) for name in names])
        assert caught.value.code is code, caught.value.message
    assert desk.rows() == before


def test_inputs_below_the_outputs_of_a_job_that_has_ended_are_looked_at(desk: Desk) -> None:
    one = desk.world.add(output_dir=_out(desk, "one/"), phase="complete")
    with pytest.raises(GatewayError) as caught:
        desk.admit(depends_on=[{"job_id": str(one)}], input_files=[_out(desk, "one/x")])
    assert caught.value.code is AppCode.S3_PATH_NOT_FOUND
    assert desk.admit(depends_on=[{"job_id": str(one)}], input_files=[desk.file("one/x")]).id
