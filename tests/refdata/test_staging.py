"""Staging at a site: one job of the gateway's own, followed to its end; recovered, cleaned, waited for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from gateway.agent.files import read_job
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.slurm.protocol import SubmitRefusedError
from gateway.store import refdata
from gateway.store.tables import Job
from tests.daemon.world import ADA, World
from tests.refdata.depot import Depot


@pytest.fixture
def depot(world: World) -> Depot:
    return Depot(world)


def _jobs(depot: Depot) -> list[int | None]:
    with depot.world.database.read() as session:
        return [job.id for job in session.exec(select(Job))]


# From registration to the end


def test_it_is_staged_by_one_slurm_job_and_goes_through_the_states_of_the_protocol(
    depot: Depot,
) -> None:
    refdata_id, job_id, slurm = depot.begin()
    assert depot.at(refdata_id).state == "download_submitted"
    assert depot.world.slurm.calls["submit"] == 1
    depot.end(job_id, slurm)
    at = depot.at(refdata_id)
    assert (at.state, at.error, at.unpacked_bytes) == ("complete", None, 4711)
    assert depot.states(refdata_id) == ["created", "download_submitted", "complete"]
    assert depot.row(job_id).phase == "complete"


def test_a_daemon_that_dies_at_any_moment_makes_no_second_job(depot: Depot) -> None:
    depot.register(depot.put("db.tar"))
    for _ in range(3):
        depot.restart()
        depot.stager.tick()
    assert len(_jobs(depot)) == 1
    depot.world.slurm.loses_answer = True
    with pytest.raises(SiteError):
        depot.world.submitter.tick()
    depot.world.restart()
    depot.world.clock.forward(1000)
    depot.world.submitter.tick()
    depot.restart()
    depot.stager.tick()
    assert depot.world.slurm.calls["submit"] == 1
    assert depot.at("1").state == "download_submitted"


def test_the_node_is_told_what_to_unpack_and_where_within_the_bounds_of_the_site(
    make_world: Callable[..., World],
) -> None:
    depot = Depot(
        make_world(scratch="/local", refdata_max_size=5000, refdata_max_files=10, refdata_memory=10**8, refdata_minutes=30)
    )  # fmt: skip
    _, job_id, slurm = depot.begin("db.tar.zst")
    job = read_job(Path(depot.world.site.job_dir(job_id)) / "job.json")
    assert job.staging is not None
    assert job.staging.kind == "tar.zst"
    assert job.staging.directory == depot.folder
    assert job.staging.name.startswith("1-")
    assert (job.staging.max_bytes, job.staging.max_files) == (5000, 10)
    assert (job.memory, job.runtime_seconds, job.scratch) == (10**8, 1800, None)
    assert "--time=40\n" in depot.world.slurm.jobs[slurm].script


def test_the_node_gets_a_grant_for_the_archive_and_for_nothing_else(depot: Depot) -> None:
    _, job_id, _ = depot.begin()
    inside = json.loads((depot.world.folder(job_id) / "container.json").read_text())
    (item,) = inside["inputs"]
    answer = depot.world.ask(job_id, "stage-in", inputs=[item["id"]])
    assert "db.tar.gz" in answer["inputs"][0]["url"]
    assert depot.world.ask(job_id, "stage-in", inputs=[item["id"] + 1])["error"] is not None


def test_its_job_is_nobodys_and_admins_see_it(depot: Depot) -> None:
    _, job_id, _ = depot.begin()
    job = depot.row(job_id)
    assert (job.user, job.name) == ("(refdata)", "refdata-1")


def test_a_site_that_is_switched_off_stages_nothing_until_it_is_on(
    make_world: Callable[..., World],
) -> None:
    depot = Depot(make_world(active=False))
    made = depot.register(depot.put("db.tar"))
    assert depot.stager.tick() == 30
    assert depot.service.get(made.id).statuses == []
    object.__setattr__(depot.world.site.section, "active", True)
    depot.stager.tick()
    assert depot.at(made.id).state == "created"
    assert len(_jobs(depot)) == 1


# What goes wrong


def test_what_the_node_refused_is_the_error_at_the_site_and_nothing_is_left(depot: Depot) -> None:
    refdata_id, job_id, slurm = depot.begin()
    told = read_job(Path(depot.world.site.job_dir(job_id)) / "job.json").staging
    assert told is not None
    half = depot.folder / f".{told.name}.tmp" / "half"
    left = [half, depot.world.folder(job_id) / "in" / "archive"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    depot.end(job_id, slurm, "stage-in-failed", error="the member '../x' has '..' in its path")
    at = depot.at(refdata_id)
    assert at.state == "error"
    assert at.error == (
        f"its staging (job {job_id}) failed: the member '../x' has '..' in its path"
    )
    assert not any(path.exists() for path in left)
    assert depot.states(refdata_id)[-1] == "error"


def test_a_job_that_slurm_refuses_or_somebody_cancels_says_so(depot: Depot) -> None:
    refdata_id = depot.register(depot.put("a.tar")).id
    depot.world.slurm.answers = [SubmitRefusedError("invalid account")]
    depot.stager.tick()
    depot.world.submitter.tick()
    depot.world.settle()
    depot.stager.tick()
    assert "Slurm refused the job: invalid account" in (depot.at(refdata_id).error or "")
    other, job_id, slurm = depot.begin("b.tar")
    depot.world.cancel(job_id, by="ada")
    depot.world.slurm.set(slurm, 0, "CANCELLED by 2003")
    depot.world.settle()
    depot.stager.tick()
    assert depot.at(other).error == f"its staging (job {job_id}) was canceled by ada"


def test_recover_stages_it_again_by_another_job(depot: Depot) -> None:
    refdata_id, job_id, slurm = depot.begin()
    depot.end(job_id, slurm, "stage-in-failed", error="the site's disk: No space left on device")
    depot.service.recover(ADA, refdata_id, "dev")
    at = depot.at(refdata_id)
    assert (at.state, at.error, at.job_id) == ("created", None, None)
    again, slurm = depot.submit(refdata_id)
    assert again != job_id
    depot.end(again, slurm)
    assert depot.states(refdata_id) == [
        "created", "download_submitted", "error", "created", "download_submitted", "complete",
    ]  # fmt: skip


def test_only_what_failed_is_recovered(depot: Depot) -> None:
    refdata_id, job_id, slurm = depot.begin()
    for state in ("download_submitted", "complete"):
        with pytest.raises(GatewayError) as refused:
            depot.service.recover(ADA, refdata_id, "dev")
        assert refused.value.code is AppCode.INVALID_REFDATA_STATE
        assert f"is {state} at the site dev" in refused.value.message
        depot.end(job_id, slurm)


@pytest.mark.parametrize(
    ("site", "code"),
    [("mars", AppCode.ILLEGAL_PARAMETER), ("far", AppCode.INVALID_REFDATA_STATE)],
)
def test_a_site_that_there_is_not_or_that_never_had_it_is_told(
    depot: Depot, site: str, code: AppCode
) -> None:
    refdata_id = depot.staged()
    with pytest.raises(GatewayError) as refused:
        depot.service.recover(ADA, refdata_id, site)
    assert refused.value.code is code
    with pytest.raises(GatewayError) as refused:
        depot.service.clean(ADA, refdata_id, site, force=True)
    assert refused.value.code is code


# Cleaning


def _published(depot: Depot) -> tuple[str, Path]:
    refdata_id, job_id, slurm = depot.begin()
    told = read_job(Path(depot.world.site.job_dir(job_id)) / "job.json").staging
    assert told is not None
    final = depot.folder / told.name
    (final / "db").mkdir(parents=True)
    (final / "db" / "a").write_text("x")
    for folder in (final / "db", final):
        folder.chmod(0o555)
    depot.end(job_id, slurm)
    return refdata_id, final


def test_clean_removes_it_from_the_disk_and_recover_brings_it_back(depot: Depot) -> None:
    refdata_id, final = _published(depot)
    depot.service.clean(ADA, refdata_id, "dev", force=False)
    at = depot.at(refdata_id)
    assert (at.state, at.error) == ("error", "it was removed from the site by ada")
    depot.stager.tick()
    assert not final.exists()
    assert len(_jobs(depot)) == 1
    depot.service.recover(ADA, refdata_id, "dev")
    depot.end(*depot.submit(refdata_id))
    assert depot.at(refdata_id).state == "complete"


def test_recover_right_after_clean_removes_first_and_stages_then(depot: Depot) -> None:
    refdata_id, final = _published(depot)
    depot.service.clean(ADA, refdata_id, "dev", force=False)
    depot.service.recover(ADA, refdata_id, "dev")
    depot.stager.tick()
    assert not final.exists()
    assert depot.at(refdata_id).job_id is None
    depot.stager.tick()
    assert depot.at(refdata_id).job_id is not None


def test_clean_is_refused_while_it_is_staged_and_while_jobs_need_it(depot: Depot) -> None:
    refdata_id, job_id, slurm = depot.begin()
    with pytest.raises(GatewayError, match=rf"is being staged .* cts cancel {job_id}"):
        depot.service.clean(ADA, refdata_id, "dev", force=True)
    depot.end(job_id, slurm)
    needs = depot.job(refdata_id)
    with pytest.raises(GatewayError, match=rf"by 1 jobs .* the first is {needs}") as refused:
        depot.service.clean(ADA, refdata_id, "dev", force=False)
    assert refused.value.code is AppCode.INVALID_REFDATA_STATE
    assert depot.at(refdata_id).state == "complete"
    depot.service.clean(ADA, refdata_id, "dev", force=True)
    assert depot.at(refdata_id).state == "error"


def test_jobs_that_have_ended_keep_nothing_from_being_cleaned(depot: Depot) -> None:
    refdata_id = depot.staged()
    number = depot.job(refdata_id)
    depot.world.cancel(number)
    depot.world.settle()
    depot.service.clean(ADA, refdata_id, "dev", force=False)
    assert depot.at(refdata_id).state == "error"


# Jobs that need it


def test_a_job_waits_with_the_reason_until_its_data_is_there_and_goes_on_then(depot: Depot) -> None:
    refdata_id = depot.register(depot.put("db.tar")).id
    number = depot.job(refdata_id)
    depot.world.submitter.tick()
    assert depot.row(number).reason == (
        "waits for reference data 1, which is not at the site dev yet"
    )
    stages, slurm = depot.submit(refdata_id)
    depot.world.submitter.tick()
    assert depot.row(number).phase == "created"
    assert depot.row(number).reason == (
        "waits for reference data 1, which is being staged at the site dev (download_submitted)"
    )
    depot.world.site.submit_wake.clear()
    depot.end(stages, slurm)
    assert depot.world.site.submit_wake.is_set()
    depot.world.submitter.tick()
    assert (depot.row(number).phase, depot.row(number).reason) == ("pending", None)


def test_the_container_sees_it_where_the_job_has_it(depot: Depot) -> None:
    refdata_id = depot.staged()
    number = depot.job(refdata_id)
    depot.world.submitter.tick()
    job = read_job(Path(depot.world.site.job_dir(number)) / "job.json")
    ((path, mount),) = job.refdata
    assert Path(path).parent == depot.folder
    assert Path(path).name.startswith(f"{refdata_id}-")
    assert mount == "/refdata"
    assert job.staging is None


def test_a_job_whose_data_failed_says_what_failed_and_what_an_admin_does(depot: Depot) -> None:
    refdata_id, stages, slurm = depot.begin()
    number = depot.job(refdata_id)
    depot.end(stages, slurm, "stage-in-failed", error="the archive is broken")
    depot.world.submitter.tick()
    job = depot.row(number)
    assert job.phase == "created"
    assert job.reason == (
        f"waits for reference data {refdata_id}, which is not at the site dev: its staging (job {stages}) failed: the "
        f"archive is broken. An admin can stage it again with: cts admin refdata recover {refdata_id} dev"
    )
    depot.service.recover(ADA, refdata_id, "dev")
    depot.end(*depot.submit(refdata_id))
    depot.world.submitter.tick()
    assert depot.row(number).phase == "pending"


def test_a_job_that_waits_can_be_canceled(depot: Depot) -> None:
    refdata_id = depot.register(depot.put("db.tar")).id
    number = depot.job(refdata_id)
    depot.world.submitter.tick()
    depot.world.cancel(number)
    depot.world.settle()
    assert depot.row(number).phase == "canceled"
    assert depot.world.slurm.calls["submit"] == 0


def test_data_that_is_removed_in_the_moment_of_submission_holds_the_job(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    refdata_id = depot.staged()
    number = depot.job(refdata_id)
    depot.service.clean(ADA, refdata_id, "dev", force=True)
    held = refdata.held
    # The look at all jobs was before the removal, that at the one is after it.
    monkeypatch.setattr(
        refdata, "held", lambda s, site, job=None: held(s, site, job) if job else []
    )
    depot.world.submitter.tick()
    assert depot.row(number).phase == "created"


def test_a_job_without_reference_data_waits_for_none(depot: Depot) -> None:
    depot.register(depot.put("db.tar"))
    number, _ = depot.world.submit()
    assert depot.row(number).phase == "pending"
    document: dict[str, Any] = json.loads(
        (Path(depot.world.site.job_dir(number)) / "job.json").read_text()
    )
    assert "refdata" not in document
