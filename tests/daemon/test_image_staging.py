"""Staging images at a site: one job of the gateway's own for each, followed to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from gateway import wire
from gateway.agent.files import read_job
from gateway.config import ImagesSection
from gateway.daemon.image_service import ImageService
from gateway.daemon.image_stager import ImageStager
from gateway.errors import AppCode, GatewayError
from gateway.images.crane import Crane
from gateway.images.service import ImageRegistry
from gateway.images.staging import ImageStaging
from gateway.refdata.registry import RefdataRegistry
from gateway.store.tables import Audit, Image, Job
from tests.daemon.world import ADA, IMAGE, World, approve

NAME = "ghcr.io/kbase/sum:1.0"
SITES = {"arm": "linux/arm64", "dev": "linux/amd64", "off": "linux/amd64"}


class Shelf:
    """The images of a world with three sites, of which `dev` is the world's and `off` is switched off."""

    def __init__(self, world: World) -> None:
        self.world = world
        approve(world.database)
        self.registry = ImageRegistry(
            world.database, Crane(ImagesSection(crane="/none/crane")), SITES
        )
        staging = ImageStaging(world.database, self.registry, SITES, lambda name: name != "off")
        refdata = RefdataRegistry(world.database, world.store, list(SITES))
        self.service = ImageService(
            world.database, self.registry, staging, refdata, world.site.images_wake.set
        )
        self.stager = ImageStager(world.database, world.site, self.registry)

    def at(self) -> wire.ImageStatus:
        """What is known of the image at the world's site."""
        (found,) = self.service.get(NAME).statuses
        return found

    def jobs(self) -> list[Job]:
        with self.world.database.read() as session:
            return list(session.exec(select(Job)))

    def submit(self) -> tuple[int, str]:
        """Have the loops submit what is to be staged; returns the job, and Slurm's id of it."""
        self.stager.tick()
        self.world.submitter.tick()
        self.stager.tick()
        job_id = int(self.at().job_id or 0)
        return job_id, self.world.submissions(job_id)[0].slurm_job_id or ""

    def end(self, job_id: int, slurm: str, outcome: str = "ok", **fields: Any) -> None:
        self.world.result(job_id, outcome=outcome, **fields)
        self.world.slurm.set(slurm, 0, "COMPLETED" if outcome == "ok" else "FAILED", node="n1")
        self.world.settle()
        self.stager.tick()


@pytest.fixture
def shelf(world: World) -> Shelf:
    return Shelf(world)


def test_it_is_staged_at_every_active_site_of_its_platform_by_one_job_each(shelf: Shelf) -> None:
    found = shelf.service.stage(ADA, NAME, [])
    assert [(at.cluster, at.state) for at in found.statuses] == [("dev", "created")]
    assert shelf.world.site.images_wake.is_set()
    job_id, slurm = shelf.submit()
    assert shelf.at().state == "download_submitted"
    shelf.service.stage(ADA, NAME, [])  # again, while it is under way
    shelf.stager.tick()
    assert len(shelf.jobs()) == 1
    shelf.end(job_id, slurm)
    assert (shelf.at().state, shelf.at().error) == ("complete", None)
    (job,) = shelf.jobs()
    assert (job.user, job.phase, job.image["digest"]) == ("(images)", "complete", IMAGE["digest"])
    with shelf.world.database.read() as session:
        actions = [row.action for row in session.exec(select(Audit))]
    assert actions.count("image.stage") == 2


def test_the_node_is_told_to_convert_it_and_nothing_else(shelf: Shelf) -> None:
    shelf.service.stage(ADA, NAME, ["dev"])
    job_id, _ = shelf.submit()
    path = Path(shelf.world.site.job_dir(job_id)) / "job.json"
    assert json.loads(path.read_text())["staging"] == {"kind": "image"}
    job = read_job(path)
    assert job.staging is not None
    assert job.image.reference == f"ghcr.io/kbase/sum@{IMAGE['digest']}"
    assert json.loads((path.parent / "0/container.json").read_text())["inputs"] == []


def test_what_is_in_the_cache_needs_no_job(shelf: Shelf) -> None:
    sif = Path(shelf.world.site.work) / "images" / f"{IMAGE['digest'].replace(':', '-')}.sif"
    sif.parent.mkdir(parents=True)
    sif.write_bytes(b"sif")
    shelf.service.stage(ADA, NAME, ["dev"])
    shelf.stager.tick()
    assert shelf.at().state == "complete"
    assert shelf.jobs() == []
    sif.unlink()  # as who cleans the cache does
    shelf.service.stage(ADA, NAME, ["dev"])
    shelf.stager.tick()
    assert len(shelf.jobs()) == 1


def test_a_failure_is_told_and_may_be_tried_again(shelf: Shelf) -> None:
    shelf.service.stage(ADA, NAME, ["dev"])
    job_id, slurm = shelf.submit()
    said = "the image could not be fetched or converted: manifest unknown"
    shelf.end(job_id, slurm, "image-failed", error=said)
    assert shelf.at().state == "error"
    assert shelf.at().error == f"its staging (job {job_id}) failed: {said}"
    shelf.service.stage(ADA, NAME, ["dev"])
    assert shelf.submit()[0] != job_id


def test_a_staging_that_is_canceled_says_by_whom(shelf: Shelf) -> None:
    shelf.service.stage(ADA, NAME, ["dev"])
    shelf.stager.tick()
    job_id = int(shelf.at().job_id or 0)
    with shelf.world.database.write() as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.phase, job.cancel_by = "canceled", "ada"
        session.add(job)
    shelf.stager.tick()
    assert shelf.at().error == f"its staging (job {job_id}) was canceled by ada"


def test_an_image_that_is_deleted_meanwhile_is_staged_no_more(shelf: Shelf) -> None:
    shelf.service.stage(ADA, NAME, ["dev"])
    job_id, slurm = shelf.submit()
    shelf.service.delete(ADA, NAME)
    shelf.end(job_id, slurm)
    assert shelf.world.job(job_id).phase == "complete"
    approve(shelf.world.database)
    assert shelf.service.get(NAME).statuses == []


@pytest.mark.parametrize(
    ("site", "code", "says"),
    [
        ("mars", AppCode.ILLEGAL_PARAMETER, "cluster: there is no site 'mars'; the sites are arm, dev, off."),
        ("off", AppCode.SITE_INACTIVE, "The site off is not active"),
        ("arm", AppCode.ILLEGAL_PARAMETER, "has nothing for linux/arm64, which the nodes of arm run"),
    ],
)  # fmt: skip
def test_a_site_that_cannot_have_it_is_refused(
    shelf: Shelf, site: str, code: AppCode, says: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        shelf.service.stage(ADA, NAME, [site])
    assert caught.value.code is code
    assert says in caught.value.message
    assert shelf.service.get(NAME).statuses == []


def test_what_nobody_can_run_is_an_error_of_its_site_and_no_bug(shelf: Shelf) -> None:
    shelf.service.stage(ADA, NAME, ["dev"])
    with shelf.world.database.write() as session:
        image = session.exec(select(Image)).one()
        image.platforms = {"linux/arm64": {"digest": IMAGE["digest"], "config": None}}
        session.add(image)
    shelf.stager.tick()
    assert shelf.at().state == "error"
    assert "has nothing for linux/amd64" in (shelf.at().error or "")


def test_its_job_is_on_the_first_account_of_a_site_that_has_none_of_its_own(shelf: Shelf) -> None:
    offered = {"account": None, "accounts": {"lab": (), "other": ()}, "qos": "regular"}
    shelf.world.site.section = shelf.world.site.section.model_copy(update=offered)
    shelf.service.stage(ADA, NAME, [])
    shelf.submit()
    (job,) = shelf.jobs()
    assert (job.account, job.qos) == ("lab", "regular")
