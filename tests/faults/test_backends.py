"""A Slurm that does not answer: each road to it says so, with Slurm's reason, and goes on when it is back."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

from gateway.errors import SiteError
from tests.cluster.backends import ROADS, Road, new_tag, road_to
from tests.conftest import DevCluster

CONTROLLER, DATABASE = "Unable to contact slurm controller", "database|slurmdbd"


def _questions(
    road: Road, tag: str, since: datetime
) -> list[tuple[str, str, Callable[[], object]]]:
    """What is asked of a road: its name, words of the reason that it gives, the question."""
    slurm, script = road.backend, road.write(tag, 0)
    return [
        ("limits", CONTROLLER, slurm.limits),
        ("partitions", CONTROLLER, slurm.partitions),
        ("queue", CONTROLLER, slurm.queue),
        ("cancel", CONTROLLER, lambda: slurm.cancel(["1"])),
        ("submit", CONTROLLER, lambda: slurm.submit(script)),
        ("start", CONTROLLER, lambda: slurm.expected_start(script, 60)),
        ("accounting", DATABASE, lambda: slurm.accounting(since)),
    ]


def _trouble(ask: Callable[[], object]) -> str:
    try:
        return f"none, but {ask()}"
    except SiteError as exc:
        return str(exc)


def test_a_slurm_that_is_away_is_told_with_the_reason_and_asked_again(site: DevCluster) -> None:
    since, tag = datetime.now(UTC), new_tag()
    with ExitStack() as stack:
        roads = {name: stack.enter_context(road_to(site, name)) for name in sorted(ROADS)}
        questions = [
            (name, *question)
            for name, road in roads.items()
            for question in _questions(road, tag, since)
        ]
        for road in roads.values():
            road.backend.limits()  # all of it runs before Slurm goes
        site.tool("kill", "slurmctld")
        site.tool("kill", "slurmdbd")
        # Slurm's commands try for some seconds by themselves; so all is asked at one time.
        with ThreadPoolExecutor(len(questions)) as pool:
            said = list(pool.map(lambda question: _trouble(question[3]), questions))
        site.tool("start", "slurmdbd")
        site.tool("start", "slurmctld")
        for (name, what, words, _), text in zip(questions, said, strict=True):
            assert re.search(words, text), (name, what, text)
        for road in roads.values():
            assert road.backend.limits().max_array_size == 10001
            assert tag not in {task.tag for task in road.backend.queue()}
            names = {record.name for record in road.backend.accounting(since)}
            assert tag.replace(":", "-") not in names
