"""A daemon that is killed between any two steps submits each job exactly once, and goes on with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlmodel import Session

from gateway.store.db import Database
from tests.daemon.world import World


class Killed(BaseException):
    """The daemon's end: nothing of it may be caught."""


class Mortal:
    """Kills the daemon at its n-th step: before or after a commit, before or after Slurm is called."""

    def __init__(self, world: World, at: int) -> None:
        self._left = at
        self.steps: list[str] = []
        submit = world.slurm.submit

        def dangerous(script: str) -> str:
            self._step("before sbatch")
            number = submit(script)
            self._step("after sbatch")
            return number

        world.slurm.submit = dangerous  # type: ignore[method-assign]
        self._write = world.database.write
        world.database.write = self.write  # type: ignore[method-assign]

    @contextmanager
    def write(self) -> Iterator[Session]:
        """See `Database.write`."""
        with self._write() as session:
            yield session
            self._step("before a commit")
        self._step("after a commit")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self._left -= 1
        if self._left == 0:
            raise Killed


def _revive(world: World) -> None:
    """Start the daemon again on what was left; Slurm lives on, and so does an sbatch that was under way."""
    world.submitter.close()
    del world.slurm.submit, world.database.write
    world.restart()


def _run(world: World, at: int) -> list[str]:
    mortal = Mortal(world, at)
    with suppress(Killed):
        world.submitter.tick()
    _revive(world)
    return mortal.steps


def test_every_step_of_a_submission_may_be_the_last_one_of_a_daemon(
    make_world: Callable[..., World],
) -> None:
    killed_at = []
    for at in itertools.count(1):
        world = make_world(max_array_size=2)
        number = world.add(3)  # two arrays
        steps = _run(world, at)
        if len(steps) < at:
            break  # there are no more steps than these
        killed_at.append(steps[-1])
        for _ in range(5):
            world.clock.forward(10)
            world.submitter.tick()
        assert len(world.slurm.jobs) == 2, steps
        assert world.slurm.calls["submit"] == 2, steps
        assert world.job(number).phase == "pending", steps
        first, again, second = [c.slurm_job_id for c in world.containers(number)]
        assert first == again != second, steps
        assert {first, second} == {"100", "101"}, steps
        assert world.phases(number) == ["created", "submitting", "pending"], steps
    calls = ("before sbatch", "after sbatch")  # of both, side by side
    assert sum(killed_at.count(step) for step in calls) == 4
    assert killed_at.count("after a commit") == 3  # prepared, submitting, submitted: both arrays


def test_a_killed_daemon_leaves_the_database_whole(world: World) -> None:
    number = world.add()
    _run(world, 2)  # after the first commit
    assert isinstance(world.database, Database)
    assert world.submissions(number)[0].state == "prepared"
    assert world.job(number).phase == "submitting"


def test_each_step_of_an_end_may_be_the_last_one_of_a_daemon(
    make_world: Callable[..., World],
) -> None:
    for at in itertools.count(1):
        world = make_world()
        number, slurm = world.submit(2)
        world.complete(number, slurm, 0)
        world.complete(number, slurm, 1)
        mortal = Mortal(world, at)
        with suppress(Killed):
            world.poll()
        _revive(world)
        world.settle()
        assert world.job(number).phase == "complete", mortal.steps
        assert world.job(number).output_file_count == 2
        assert world.phases(number).count("complete") == 1
        if len(mortal.steps) < at:
            break
    assert at > 4
