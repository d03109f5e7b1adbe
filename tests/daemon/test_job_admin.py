"""What admins do with any job: look, ask Slurm, note, clean, have events sent again."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from gateway.daemon.job_admin import JobAdmin
from gateway.errors import AppCode, GatewayError
from gateway.jobs.service import JobService
from gateway.store.tables import Audit, Resend, Transition
from tests.daemon.world import ADA, World


class Desk:
    """The service at a world; counts how often it woke the events."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.woken = 0
        jobs = JobService(world.database, None, None, lambda _: None)  # type: ignore[arg-type]
        self.admin = JobAdmin(world.database, jobs, {"dev": world.site}, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def resent(self) -> list[str]:
        """Phases of the transitions that are to be sent again."""
        query = select(Transition.phase).join(Resend, Resend.transition_id == Transition.id)  # type: ignore[arg-type]
        with self.world.database.read() as session:
            return list(session.exec(query))

    def audits(self) -> list[tuple[str, str]]:
        """What the audit log has."""
        with self.world.database.read() as session:
            return [(row.action, row.result) for row in session.exec(select(Audit))]


@pytest.fixture
def desk(world: World) -> Desk:
    """The service."""
    return Desk(world)


def _refused(code: AppCode, match: str) -> object:
    return pytest.raises(GatewayError, match=match)


def test_an_admin_sees_the_submissions_and_the_directory_and_no_token(desk: Desk) -> None:
    number, slurm = desk.world.submit(2)
    job = desk.admin.job(ADA, number)
    assert [(s.containers, s.state, s.slurm_job_id) for s in job.submissions] == [
        ([0, 1], "submitted", slurm)
    ]
    assert job.directory == desk.world.site.job_dir(number)
    assert desk.world.job(number).token not in job.model_dump_json()


def test_slurm_is_asked_for_a_job_or_for_one_container_and_not_before_it_has_it(desk: Desk) -> None:
    waiting = desk.world.add()
    assert desk.admin.runner_status(ADA, waiting, None).controller is None
    assert desk.admin.runner_status(ADA, waiting, 0).slurm_jobs == []
    number, slurm = desk.world.submit(3)
    said = desk.admin.runner_status(ADA, number, None)
    assert (said.cluster, said.controller) == ("dev", {"jobs": [slurm]})
    assert said.accounting_error == "sacct: away"
    assert desk.admin.runner_status(ADA, number, 2).slurm_jobs == [f"{slurm}_2"]
    with pytest.raises(GatewayError) as caught:
        desk.admin.runner_status(ADA, number, 3)
    assert caught.value.code is AppCode.NO_SUCH_SUBJOB


def test_notes_are_set_changed_and_unset(desk: Desk) -> None:
    number = desk.world.add()
    updated = desk.world.job(number).updated
    desk.admin.set_meta(ADA, number, {"ticket": "HPC-77", "n": 1}, [])
    desk.admin.set_meta(ADA, number, {"n": 2.5}, ["ticket", "never-there"])
    assert desk.world.job(number).admin_meta == {"n": 2.5}
    assert desk.world.job(number).updated == updated
    assert desk.audits() == [("job.meta", "ok: n, ticket"), ("job.meta", "ok: n, -ticket, -never-there")]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "unset", "code"),
    [
        ({}, [], AppCode.MISSING_PARAMETER),
        ({"a": 1}, ["a"], AppCode.ILLEGAL_PARAMETER),
        ({f"k{n}": n for n in range(101)}, [], AppCode.ILLEGAL_PARAMETER),
    ],
)
def test_notes_that_say_nothing_or_too_much_are_refused(
    desk: Desk, fields: dict[str, object], unset: list[str], code: AppCode
) -> None:
    number = desk.world.add()
    with pytest.raises(GatewayError) as caught:
        desk.admin.set_meta(ADA, number, fields, unset)
    assert caught.value.code is code
    assert desk.world.job(number).admin_meta == {}


def test_the_directory_of_an_ended_job_is_removed_and_that_of_a_running_one_is_refused(
    desk: Desk,
) -> None:
    ended, running = desk.world.add(phase="error"), desk.world.add(phase="run")
    for number in (ended, running):
        desk.world.folder(number).mkdir(parents=True)
    with pytest.raises(GatewayError, match="its state is job_submitted") as caught:
        desk.admin.clean(ADA, running, force=False)
    assert caught.value.code is AppCode.INVALID_JOB_STATE
    desk.admin.clean(ADA, ended, force=False)
    assert desk.world.site.clean_wake.is_set()
    desk.world.cleaner.tick()
    assert not Path(desk.world.site.job_dir(ended)).exists()
    assert Path(desk.world.site.job_dir(running)).exists()
    desk.admin.clean(ADA, ended, force=False)  # once more is no error


def test_a_running_job_that_is_cleaned_by_force_is_canceled_and_goes_when_slurm_has_let_it_go(
    desk: Desk,
) -> None:
    world = desk.world
    number, slurm = world.submit()
    world.slurm.set(slurm, 0, "RUNNING", node="n1")
    world.poll()
    desk.admin.clean(ADA, number, force=True)
    assert world.job(number).phase == "canceling"
    world.cleaner.tick()
    assert Path(world.site.job_dir(number)).exists()
    world.slurm.set(slurm, 0, "CANCELLED")
    world.settle()
    assert world.job(number).phase == "canceled"
    world.cleaner.tick()
    assert not Path(world.site.job_dir(number)).exists()


def test_the_event_of_a_state_is_sent_again_the_last_one_by_default(desk: Desk) -> None:
    number, _ = desk.world.submit()
    desk.admin.notify(ADA, number, None)
    desk.admin.notify(ADA, number, "created")
    desk.admin.notify(ADA, number, "job_submitted")
    assert desk.resent() == ["pending", "created", "pending"]
    assert desk.woken == 3


def test_the_event_of_a_state_that_a_job_never_had_is_refused(desk: Desk) -> None:
    number = desk.world.add()
    for state, code in (("complete", AppCode.INVALID_JOB_STATE), ("over", AppCode.ILLEGAL_PARAMETER)):  # fmt: skip
        with pytest.raises(GatewayError) as caught:
            desk.admin.notify(ADA, number, state)
        assert caught.value.code is code
    with pytest.raises(GatewayError) as caught:
        desk.admin.notify(ADA, number + 1, None)
    assert caught.value.code is AppCode.NO_SUCH_JOB
    assert desk.resent() == []
