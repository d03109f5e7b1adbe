"""The contract of `SlurmBackend`: what each road to Slurm does, on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.slurm.protocol import (
    Partition,
    SubmitLaterError,
    SubmitRefusedError,
    TaskRecord,
    TaskState,
)
from gateway.slurm.states import TABLE, Meaning
from tests.cluster.backends import ROADS, USER, Road, new_tag, road_to
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
GOOD, BAD, LONG, LONGER = range(4)
ENDED = {name for name, row in TABLE.items() if row.meaning is Meaning.ENDED}


@pytest.fixture(scope="module", params=sorted(ROADS))
def road(request: pytest.FixtureRequest, site: DevCluster) -> Iterator[Road]:
    with road_to(site, request.param) as found:
        yield found


@dataclass(frozen=True)
class Job:
    """A job of four tasks: one ends well, one with code 7, two sleep until they are canceled."""

    road: Road
    tag: str
    number: str
    since: datetime

    def queued(self) -> dict[int | None, TaskState]:
        """Its tasks in the queue, by their numbers."""
        found = [task for task in self.road.backend.queue() if task.slurm_job_id == self.number]
        assert len({task.task for task in found}) == len(found)
        return {task.task: task for task in found}

    def accounted(self) -> dict[int | None, TaskRecord]:
        """Its tasks in the accounting."""
        found = self.road.backend.accounting(self.since)
        return {each.task: each for each in found if each.slurm_job_id == self.number}

    def is_in(self, state: str, *tasks: int) -> bool:
        """Whether the queue shows those tasks so."""
        now = self.queued()
        return all(task in now and now[task].state == state for task in tasks)


@pytest.fixture(scope="module")
def job(road: Road) -> Iterator[Job]:
    tag, since = new_tag(), datetime.now(UTC) - timedelta(seconds=2)
    made = Job(road, tag, road.submit(tag, 0, 7, "sleep", "sleep"), since)
    yield made
    road.backend.cancel([made.number])


def test_a_submission_is_answered_with_slurms_id(job: Job) -> None:
    shown = job.road.site.run("squeue", "-h", "-t", "all", "-o", "%F %k", user="root").stdout
    assert f"{job.number} {job.tag}" in shown.splitlines()


def test_a_submission_whose_answer_was_lost_is_found_by_its_comment_and_its_name(job: Job) -> None:
    tags = {task.tag: task.slurm_job_id for task in job.road.backend.queue()}
    assert tags[job.tag] == job.number
    job.road.site.until(lambda: len(job.accounted()) == 4)
    records = job.road.backend.accounting(job.since)
    # The accounting has the comment once a task has ended; the name it has from the beginning.
    assert {r.slurm_job_id for r in records if r.name == job.tag.replace(":", "-")} == {job.number}


def test_a_script_that_slurm_refuses_is_told_in_slurms_words(road: Road) -> None:
    tag = new_tag()
    for wrong, said in (
        ({"qos": "gone"}, "Invalid qos specification"),
        ({"account": "gone"}, "Invalid account or account/partition combination specified"),
        ({"constraint": "gone"}, "Invalid feature specification"),
    ):
        with pytest.raises(SubmitRefusedError, match=said):
            road.submit(tag, 0, **wrong)
    assert tag not in {task.tag for task in road.backend.queue()}


@pytest.fixture
def narrow(site: DevCluster) -> Iterator[str]:
    """A QOS of which one job at most may be in the queue."""
    user = ("user", "where", f"name={USER}", "account=dev", "set")
    site.run("sacctmgr", "-i", "add", "qos", "narrow", "MaxSubmitJobsPerUser=1", user="root")
    site.run("sacctmgr", "-i", "modify", *user, "qos+=narrow", user="root")
    yield "narrow"
    site.run("sacctmgr", "-i", "modify", *user, "qos-=narrow", user="root")
    site.run("sacctmgr", "-i", "delete", "qos", "narrow", user="root")


def test_a_limit_of_how_much_may_wait_is_no_refusal(road: Road, narrow: str) -> None:
    tag = new_tag()
    with pytest.raises(SubmitLaterError, match=r"QOSMaxSubmitJobPerUserLimit|job submit limit"):
        road.submit(tag, 0, 0, qos=narrow)
    assert tag not in {task.tag for task in road.backend.queue()}


def test_tasks_that_run_have_a_node_and_those_that_wait_have_slurms_reason(job: Job) -> None:
    road, tag = job.road, new_tag()
    waiting = Job(road, tag, road.submit(tag, "sleep", "sleep", licenses="matlab:2"), job.since)
    try:
        road.site.until(lambda: job.is_in("RUNNING", LONG, LONGER))
        for task in (job.queued()[LONG], job.queued()[LONGER]):
            assert (task.tag, task.node[:1]) == (job.tag, "n")
            assert task.start is not None
            assert job.since <= task.start <= datetime.now(UTC) + timedelta(seconds=2)
        road.site.until(lambda: waiting.queued()[1].reason == "Licenses")
        last = waiting.queued()[1]
        assert (last.state, last.tag, last.node) == ("PENDING", tag, "")
        assert last.priority > 0
    finally:
        road.backend.cancel([waiting.number])


def test_tasks_that_ended_have_their_exit_codes_and_steps(job: Job) -> None:
    def settled() -> bool:
        found = job.accounted()
        return all(t in found and found[t].end and found[t].steps for t in (GOOD, BAD))

    job.road.site.until(settled)
    found = job.accounted()
    good, bad = found[GOOD], found[BAD]
    assert (good.state, good.exit_code) == ("COMPLETED", "0:0")
    assert (bad.state, bad.exit_code) == ("FAILED", "7:0")
    for record, code in ((good, "0:0"), (bad, "7:0")):
        steps = {step.name: step for step in record.steps}
        assert {"batch", "run"} <= steps.keys()
        assert (steps["run"].exit_code, steps["run"].cpus) == (code, 1)
        assert (record.cpus, record.comment, record.node[:1]) == (1, job.tag, "n")
        assert record.submit is not None
        assert record.start is not None
        assert record.end is not None
        assert job.since <= record.submit <= record.start <= record.end
    assert found[LONG].state in ("PENDING", "RUNNING")
    assert found[LONG].end is None
    assert job.queued()[BAD].state == "FAILED"


def test_single_tasks_and_whole_jobs_are_canceled_and_what_has_ended_is_no_error(job: Job) -> None:
    road = job.road
    road.site.until(lambda: job.is_in("RUNNING", LONG, LONGER))
    road.backend.cancel([f"{job.number}_{LONG}"])
    road.site.until(lambda: job.is_in("CANCELLED", LONG))
    assert job.is_in("RUNNING", LONGER)
    road.backend.cancel([f"{job.number}_{LONG}", f"{job.number}_{GOOD}", "4000000000", job.number])
    road.site.until(lambda: job.is_in("CANCELLED", LONGER))
    road.backend.cancel([job.number, f"{job.number}_{LONGER}"])
    road.site.until(lambda: {task.state for task in job.queued().values()} <= ENDED)
    road.site.until(lambda: job.accounted()[LONGER].end is not None)
    assert job.accounted()[LONGER].state.startswith("CANCELLED by ")


@pytest.fixture(params=["cli", "ssh"])
def commands(request: pytest.FixtureRequest, site: DevCluster) -> Iterator[Road]:
    """The roads by Slurm's commands: slurmrestd and pyslurm do not tell what this is about (docs/roadmap.md)."""
    with road_to(site, request.param) as found:
        yield found


def test_what_is_canceled_before_it_was_ever_eligible_has_its_end_in_the_accounting(
    commands: Road,
) -> None:
    road = commands
    tag, since = new_tag(), datetime.now(UTC) - timedelta(seconds=2)
    down = ("scontrol", "update", "partitionname=debug")
    road.site.run(*down, "state=down", user="root")
    try:
        waiting = Job(road, tag, road.submit(tag, 0, partition="debug", minutes=5), since)
        road.site.run("scontrol", "hold", waiting.number, user="root")
        road.backend.cancel([waiting.number])
        road.site.until(lambda: 0 in waiting.accounted())
        assert waiting.accounted()[0].state.startswith("CANCELLED")
    finally:
        road.site.run(*down, "state=up", user="root")


def test_limits_are_those_that_slurm_has(road: Road) -> None:
    version = road.site.run("sinfo", "--version", user="root").stdout.split()[-1]
    limits = road.backend.limits()
    assert (limits.max_array_size, limits.version) == (10001, version)


def test_partitions_are_as_slurm_has_them_now(road: Road) -> None:
    new = ("PartitionName=contract", "Nodes=n1,n2", "MaxTime=UNLIMITED", "State=DRAIN")
    road.site.run("scontrol", "create", *new, user="root")
    try:
        found = {each.name: each for each in road.backend.partitions()}
        counts = {"allocated": None, "idle": None, "other": None}
        plain = {name: replace(each, **counts) for name, each in found.items()}  # type: ignore[arg-type]
        assert plain["regular"] == Partition("regular", "UP", 2880, 4, True)
        assert plain["debug"] == Partition("debug", "UP", 30, 1, False)
        assert plain["contract"] == Partition("contract", "DRAIN", None, 2, False)
        for each in found.values():  # not each road tells of nodes
            told = [each.allocated, each.idle, each.other]
            assert told == [None] * 3 or sum(n or 0 for n in told) == each.nodes
        for state in ("DOWN", "INACTIVE"):
            name, now = "PartitionName=contract", f"State={state}"
            road.site.run("scontrol", "update", name, now, user="root")
            found = {each.name: each for each in road.backend.partitions()}
            assert found["contract"].state == state
    finally:
        road.site.run("scontrol", "delete", "PartitionName=contract", user="root")


def test_the_start_of_a_job_is_told_and_nothing_is_queued(road: Road) -> None:
    tag, full, soon = new_tag(), new_tag(), timedelta(minutes=2)
    script = road.write(tag, 0, 0, partition="debug")
    assert _start(road, script) < datetime.now(UTC) + soon
    number = road.submit(full, "sleep", partition="debug", cpus=16)
    try:
        road.site.until(
            lambda: any(t.tag == full and t.state == "RUNNING" for t in road.backend.queue())
        )
        later = _start(road, script)
        if road.backend.name != "rest":
            assert soon < later - datetime.now(UTC) < timedelta(minutes=11)
    finally:
        road.backend.cancel([number])
    assert tag not in {task.tag for task in road.backend.queue()}


def _start(road: Road, script: str) -> datetime:
    """When it would start, as far as the road knows."""
    start = road.backend.expected_start(script, 60)
    assert (start is None) == (road.backend.name == "rest")
    return start or datetime.now(UTC)


def test_a_job_that_would_be_refused_or_cannot_start_now_has_no_start(road: Road) -> None:
    wrong, script = (road.write(new_tag(), 0, qos="gone"), road.write(new_tag(), 0, partition="debug"))  # fmt: skip
    if road.backend.name == "rest":
        assert road.backend.expected_start(wrong, 60) is None
        return
    with pytest.raises(SubmitRefusedError, match="Invalid qos specification"):
        road.backend.expected_start(wrong, 60)
    for thing, state, back, said in (
        ("partitionname=debug", "state=down", "state=up", "the partition debug is DOWN"),
        ("partitionname=debug", "state=drain", "state=up", "Required partition not available"),
        ("nodename=n1", "state=drain", "state=resume", "Requested node configuration is not available"),
    ):  # fmt: skip
        why = ("reason=test",) if thing.startswith("node") else ()
        road.site.run("scontrol", "update", thing, state, *why, user="root")
        try:
            with pytest.raises(SubmitLaterError, match=said):
                road.backend.expected_start(script, 60)
        finally:
            road.site.run("scontrol", "update", thing, back, user="root")


def test_all_that_slurm_says_of_a_job_is_shown(job: Job) -> None:
    shown = job.road.backend.show([f"{job.number}_{BAD}"], 60)
    assert (shown.controller_error, shown.accounting_error) == (None, None)
    assert job.tag in str(shown.controller)
    assert job.tag in str(shown.accounting)
