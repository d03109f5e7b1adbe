"""The daemon put together: its loops take a job from its request to its end, its services tell of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlmodel import select

from gateway.config import Config, DatabaseSection, ImagesSection, SiteSection
from gateway.daemon.gateway import Gateway
from gateway.errors import AppCode, GatewayError, SiteError, StoreError
from gateway.store.db import Database
from gateway.store.tables import Audit
from tests.daemon.world import ADA, ALICE, World, approve


@pytest.fixture
def gateway(make_world: Callable[..., World], world: World) -> Iterator[Gateway]:
    """A daemon on the world's database and store, with the fake Slurm."""
    world.site.close()
    file = world.database.file
    config = world.config.model_copy(
        update={
            "database": DatabaseSection(url=f"sqlite:///{file}"),
            "images": ImagesSection(crane="/none/crane"),
        }
    )
    made = Gateway(config)
    for site in made.sites.values():
        site.backend = world.slurm
    yield made
    made.close()


def _audits(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        return [(row.action, row.target, row.result) for row in session.exec(select(Audit))]


def test_the_loops_take_a_job_from_its_request_to_its_end(world: World, gateway: Gateway) -> None:
    approve(world.database)
    world.bucket.put("in.txt", b"abc")
    body = {
        "cluster": "dev", "image": "ghcr.io/kbase/sum:1.0", "input_files": [f"{world.bucket.bucket}/in.txt"],
        "output_dir": f"{world.bucket.bucket}/{world.prefix}",
    }  # fmt: skip
    ended = threading.Event()
    gateway.sites["dev"].clean_wake = ended  # set when a job ends
    next(loop for loop in gateway.loops if loop.name.startswith("clean")).wake = ended
    next(loop for loop in gateway.loops if loop.name.startswith("clean")).tick = lambda: 60.0
    number = gateway.services.jobs.submit(ALICE, body)
    for loop in gateway.loops:
        loop.tick()  # submitted, its mailbox open
    world.database = gateway.database
    world.site, world.config = gateway.sites["dev"], gateway.config
    world.restart()
    world.complete(number, "100")
    world.letter(number, "result")
    gateway.start()
    assert _until(lambda: gateway.services.jobs.status(ALICE, number).state == "complete")
    job = gateway.services.jobs.job(ALICE, number)
    assert [out.file for out in job.outputs] == [f"{world.bucket.bucket}/{world.prefix}out-0.txt"]
    assert ("job.submit", str(number), "ok") in _audits(gateway.database)


def _until(what: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(what() or pause.wait(0.02) for _ in range(500))


def test_a_site_that_has_trouble_is_shown_as_such_with_its_jobs(
    world: World, gateway: Gateway
) -> None:
    number = world.add()
    loop = next(loop for loop in gateway.loops if loop.name == "poll:dev")
    loop.last_error = "squeue: Unable to contact slurm controller"
    next(loop for loop in gateway.loops if loop.name == "look:dev").start()
    assert gateway.services.info.sites(ALICE)[0].available is False
    reason = gateway.services.jobs.status(ALICE, number).reason or ""
    assert reason == f"the site dev does not answer as it should: {loop.last_error}"
    loop.last_error = None
    assert gateway.services.info.sites(ALICE)[0].available is True


def test_the_log_of_a_job_is_read_in_slices_of_any_size(world: World, gateway: Gateway) -> None:
    number = world.add()
    text = b"0123456789" * 250_000
    with pytest.raises(GatewayError) as caught:
        gateway.services.jobs.log(ALICE, number, 0, "stdout", 0, None)
    assert caught.value.code is AppCode.NO_LOGS
    folder = world.folder(number)
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(text)
    read = gateway.services.jobs.log
    assert read(ALICE, number, 0, "stdout", 0, None).data == text
    assert read(ALICE, number, 0, "stdout", 2_499_990, 100).data == text[-10:]
    assert read(ALICE, number, 0, "stdout", 5, 3).data == b"567"
    beyond = read(ALICE, number, 0, "stdout", 10**9, None)
    assert (beyond.data, beyond.size, beyond.final) == (b"", len(text), False)


def test_a_job_of_a_site_that_was_taken_out_of_the_configuration_can_still_be_shown_and_canceled(
    world: World, gateway: Gateway
) -> None:
    number = world.add(site="gone")
    jobs = gateway.services.jobs
    assert jobs.job(ALICE, number).phase == "created"
    with pytest.raises(GatewayError, match="site gone, which is not configured any more"):
        jobs.log(ALICE, number, 0, "stdout", 0, None)
    jobs.cancel(ALICE, number)
    assert jobs.job(ALICE, number).phase == "canceling"


def test_an_approval_is_in_the_audit_log_with_how_it_went(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GatewayError):
        gateway.services.images.approve(ADA, "ghcr.io/kbase/sum:1.0")

    def broken(name: str, user: str, *_: Any) -> Any:
        raise StoreError("the disk is full")

    monkeypatch.setattr(gateway.registry, "approve", broken)
    with pytest.raises(StoreError):
        gateway.services.images.approve(ADA, "ghcr.io/kbase/two:1.0")
    first, second = _audits(gateway.database)
    assert first[:2] == ("image.approve", "ghcr.io/kbase/sum:1.0")
    assert "crane" in first[2]
    assert second == ("image.approve", "ghcr.io/kbase/two:1.0", "failed")


def test_two_daemons_never_share_a_work_directory(gateway: Gateway) -> None:
    with pytest.raises(SiteError, match="is in use: another gateway"):
        Gateway(gateway.config)


def test_a_database_without_its_schema_is_no_start(world: World, tmp_path: Any) -> None:
    site = SiteSection(work_dir=tmp_path / "other")
    url = DatabaseSection(url=f"sqlite:///{tmp_path}/none.db")
    config = Config(s3=world.config.s3, sites={"dev": site}, database=url)
    with pytest.raises(StoreError, match="run 'ctsd migrate"):
        Gateway(config)


def test_readiness_has_a_line_of_each_part(world: World, gateway: Gateway) -> None:
    gateway.parts = type(gateway.parts)(
        gateway.parts.database,
        {"": lambda: world.store.store("")},
        gateway.parts.crane,
        gateway.parts.sites,
    )
    ready = gateway.services.info.ready()
    assert not ready.ready
    assert [line.name for line in ready.checks if not line.ok] == ["crane"]
