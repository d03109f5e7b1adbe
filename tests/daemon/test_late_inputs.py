"""Jobs some of whose inputs other jobs are yet to write get their containers once those have ended."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import update

from gateway.daemon.late_inputs import LateInputs
from gateway.daemon.skipping import Skipper
from gateway.jobs.model import parse_job_input
from gateway.jobs.restarts import Restarts
from gateway.store.tables import JobDependency
from tests.daemon.test_dependencies import after
from tests.daemon.world import ADA, World


class Pipeline:
    """A job that waits for another's output, which is its input."""

    def __init__(self, world: World, **fields: Any) -> None:
        self.world = world
        self.first = world.add(output_dir=f"{world.bucket.bucket}/{world.prefix}one/")
        where = f"{world.bucket.bucket}/{world.prefix}"
        given = {
            "cluster": "dev",
            "image": "ghcr.io/kbase/sum:1.0",
            "input_files": [f"{where}one/a.txt", f"{where}one/b.txt"],
            "output_dir": f"{where}two",
            "num_containers": 2,
            "params": {
                "args": [{"type": "input_files", "input_files_format": "comma_separated_list"}]
            },
        }
        stored = parse_job_input(given).model_dump(mode="json", exclude_none=True)
        self.second = after(
            world, self.first, containers=0, job_input=stored, unplanned=True, **fields
        )
        world.change(world.job(self.second), num_containers=2)
        self._loop = LateInputs(world.database, world.store, world.site)

    def write(self, *names: str) -> None:
        """Write outputs of the first job."""
        for name in names:
            self.world.bucket.put(f"{self.world.prefix}one/{name}", b"abc")

    def end_first(self, phase: str = "complete") -> None:
        """End the first job."""
        self.world.change(self.world.job(self.first), phase=phase)

    def tick(self) -> None:
        """What the daemon does."""
        self._loop.tick()
        self.world.submitter.tick()


@pytest.fixture
def pipeline(world: World) -> Pipeline:
    """One as it comes."""
    return Pipeline(world)


def test_it_gets_its_containers_and_is_submitted_once_the_other_job_is_complete(
    pipeline: Pipeline,
) -> None:
    world, second = pipeline.world, pipeline.second
    pipeline.write("a.txt", "b.txt")  # one that still runs may write them again
    pipeline.tick()
    assert world.containers(second) == []
    assert world.job(second).reason == f"waits for job {pipeline.first} to complete"
    pipeline.end_first()
    pipeline.tick()
    job = world.job(second)
    assert (job.phase, job.reason, job.unplanned) == ("pending", None, False)
    assert (job.input_file_count, job.input_bytes) == (2, 6)
    mount = "/input_files"
    assert [world.container(second, n).args for n in (0, 1)] == [
        [f"{mount}/a.txt"],
        [f"{mount}/b.txt"],
    ]
    assert world.container(second).fingerprint is not None
    pipeline.tick()
    assert len(world.submissions(second)) == 1


def test_an_input_that_was_not_written_ends_it_with_the_reason_and_an_admin_restarts_it(
    pipeline: Pipeline,
) -> None:
    world, second = pipeline.world, pipeline.second
    pipeline.write("a.txt")
    pipeline.end_first()
    pipeline.tick()
    job = world.job(second)
    assert job.phase == "error"
    assert (job.error or "").startswith("The job was not run: ")
    assert "one/b.txt" in (job.error or "")
    assert world.submissions(second) == []
    pipeline.write("b.txt")
    pipeline.tick()
    assert world.job(second).phase == "error"
    Restarts(world.database, lambda _: None).restart(ADA, second)
    pipeline.tick()
    assert world.job(second).phase == "pending"
    assert len(world.containers(second)) == 2


def test_one_that_waits_is_canceled_at_once(pipeline: Pipeline) -> None:
    world, second = pipeline.world, pipeline.second
    world.cancel(second)
    world.poll()
    assert world.job(second).phase == "canceled"
    pipeline.write("a.txt", "b.txt")
    pipeline.end_first()
    pipeline.tick()
    assert world.containers(second) == []


@pytest.mark.parametrize("end", ["error", "canceled"])
def test_one_whose_wait_is_vain_ends(pipeline: Pipeline, end: str) -> None:
    pipeline.end_first(end)
    pipeline.tick()
    job = pipeline.world.job(pipeline.second)
    assert job.phase == "error"
    assert f"job {pipeline.first} had to complete first" in (job.error or "")


def test_one_of_any_end_takes_what_is_there(world: World) -> None:
    pipeline = Pipeline(world)
    with world.database.write() as session:
        session.exec(update(JobDependency).values(condition="afterany"))
    pipeline.write("a.txt", "b.txt")
    pipeline.end_first("error")
    pipeline.tick()
    assert world.job(pipeline.second).phase == "pending"


def test_it_is_looked_for_among_what_was_done_before_only_once_it_is_planned(
    world: World,
) -> None:
    pipeline = Pipeline(world, skip_check=True)
    skipper = Skipper(world.database, world.store, world.site)
    pipeline.write("a.txt", "b.txt")
    pipeline.end_first()
    skipper.tick()
    assert world.job(pipeline.second).skip_check
    pipeline.tick()
    assert world.job(pipeline.second).phase == "created"
    skipper.tick()
    pipeline.tick()
    assert world.job(pipeline.second).phase == "pending"
