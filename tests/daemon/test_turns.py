"""Submissions wait in the gateway while Slurm's queue has no room for them, and users take turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.daemon.turns import Turns
from gateway.errors import SiteError
from gateway.slurm.hands import CommandResult
from gateway.slurm.submit_limits import Most, SubmitLimits, read_submit_limits
from gateway.store.submissions import Queued
from gateway.store.tables import Job, Submission
from tests.daemon.world import World

# As scontrol and sacctmgr 26.05 print them, with limits set.
CONFIG = "AccountingStorageEnforce = associations,limits,qos\nMaxJobCount             = 10000\n"
ANSWERS = {
    "scontrol show config": CONFIG,
    "show user": "dev\n",
    "show assoc users=ctsjob": "dev\nlab\n",
    "show assoc accounts=dev,lab": (
        "dev||||500|\ndev|alice|||||\ndev|ctsjob||40||1-02:00:00\nlab|||||01:00:00\nlab|ctsjob|debug||30|\n"
    ),
    "show qos": "normal||||\nregular||||05:00:00\ndebug|8|20||00:30:00\nlong|||60|\n",
}
ALL = {"all users together (MaxJobCount)": 10000}


class Hands:
    """Answers sacctmgr."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        asked = " ".join(argv).removeprefix("sacctmgr -nP ")
        for begin, text in self.answers.items():
            if asked.startswith(begin):
                return CommandResult(0, text, "")
        return CommandResult(1, "", "sacctmgr: error: Unable to contact slurmdbd\n")


def _limits(answers: dict[str, str] = ANSWERS, user: str | None = "ctsjob") -> SubmitLimits:
    return read_submit_limits(Hands(answers), None, user, 60)  # type: ignore[arg-type]


def test_the_least_limit_of_an_account_holds_and_those_of_a_qos_stand_in_place_of_the_same_ones() -> (
    None
):
    found = _limits()
    assert found.of(None, None) == {"the account dev": 40, **ALL}
    assert found.of("lab", None) == {"the account lab": 30, "the QOS debug": 8, **ALL}
    assert found.of("lab", "regular") == {"the account lab": 30, **ALL}
    assert found.of("dev", "debug") == {"the account dev": 500, "the QOS debug": 8, **ALL}
    assert found.of("dev", "long") == {"the account dev": 40, "the QOS long": 60, **ALL}


def test_a_qos_says_how_long_a_job_may_be_and_else_the_account_does() -> None:
    found = _limits()
    assert found.minutes(None, None) == ("account dev", 26 * 60)
    assert found.minutes("dev", "regular") == ("QOS regular", 300)
    assert found.minutes("lab", None) == ("QOS debug", 30)
    assert found.minutes("lab", "long") is None  # that of its account itself is not the user's
    assert SubmitLimits().minutes("lab", "debug") is None


def test_limits_that_slurm_does_not_enforce_are_none() -> None:
    off = {**ANSWERS, "scontrol show config": CONFIG.replace("limits,", "")}
    assert _limits(off) == SubmitLimits(cluster=10000)
    assert _limits(user=None) == SubmitLimits(cluster=10000)
    none = {"scontrol show config": "AccountingStorageEnforce = none\n"}
    assert _limits(none) == SubmitLimits()


def test_a_user_whom_the_accounting_does_not_know_has_none_and_silence_is_told() -> None:
    unknown = {"scontrol show config": CONFIG, "show user": "", "show assoc users": ""}
    assert _limits(unknown).of("dev", "debug") == ALL
    with pytest.raises(SiteError, match=r"sacctmgr: .*Unable to contact slurmdbd"):
        _limits({"scontrol show config": CONFIG})
    with pytest.raises(SiteError, match="Unable to contact slurmdbd"):
        _limits({})


def _waiting(*users: str, count: int = 1, **fields: str) -> list[tuple[Submission, Job]]:
    found = []
    for number, user in enumerate(users, 1):
        submission = Submission(
            id=number, job_id=number, number=0, containers=list(range(count)), per_task=1,
            tag="t", state="prepared", created=None,  # type: ignore[arg-type]
        )  # fmt: skip
        row: dict[str, Any] = {"id": number, "user": user, **fields}
        found.append((submission, Job(**row)))
    return found


def _order(turns: Turns, waiting: list[tuple[Submission, Job]]) -> list[int]:
    return [job.id or 0 for _, job in turns.ordered(waiting)]


def test_a_flood_of_one_user_does_not_hold_up_another() -> None:
    flood = _waiting(*["alice"] * 5, "bob", "bob", "carol")
    assert _order(Turns(SubmitLimits(), []), flood) == [1, 6, 8, 2, 7, 3, 4, 5]
    queued = [Queued("bob", None, None, 3), Queued("carol", "lab", None, 1)]
    assert _order(Turns(SubmitLimits(), queued), flood) == [1, 2, 8, 3, 4, 6, 5, 7]


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_the_order_keeps_each_users_own_and_loses_none(users: list[str]) -> None:
    waiting = _waiting(*users)
    order = _order(Turns(SubmitLimits(), []), waiting)
    assert sorted(order) == list(range(1, len(users) + 1))
    for user in set(users):
        mine = [number for number in order if users[number - 1] == user]
        assert mine == sorted(mine)


def test_what_has_no_room_waits_and_is_not_passed_by_smaller_ones_of_the_same_limit() -> None:
    limits = SubmitLimits("dev", {"dev": Most(10)}, {"debug": Most(3)})
    turns = Turns(limits, [Queued("alice", None, None, 4)])
    (large,), (small,), (other,) = (
        _waiting("alice", count=7),
        _waiting("alice"),
        _waiting("alice", account="lab"),
    )
    said = "waits in the gateway: Slurm takes at most 10 tasks of the account dev at one time"
    assert turns.no_room(*large) == said
    assert turns.no_room(*small) == said
    assert turns.no_room(*other) is None
    fresh = Turns(limits, [])
    assert fresh.no_room(*_waiting("alice", count=11)[0]) is None  # Slurm itself says what it is


def test_jobs_wait_in_the_gateway_and_flow_on_as_others_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = SubmitLimits("dev", {"dev": Most(3)})
    monkeypatch.setattr(type(world.site), "submit_limits", lambda self: limits)
    jobs = [world.add() for _ in range(5)]
    bobs = world.add(user="bob")
    large = world.add(7, user="carol")
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 2  # then comes carol, for whom there is no room yet
    assert [row.containers for row in world.submissions(large)] == [[0, 1, 2], [3, 4, 5], [6]]
    started = {n for n in (*jobs, bobs, large) if world.container(n).slurm_job_id is not None}
    assert started == {jobs[0], bobs}
    assert "at most 3 tasks of the account dev" in (world.job(jobs[3]).reason or "")
    world.submitter.tick()
    assert world.slurm.calls["submit"] == 2
    for number in sorted(started):
        world.complete(number, world.container(number).slurm_job_id or "", name=f"{number}.txt")
    world.settle()
    world.submitter.tick()
    # The others had a turn since; the array is as large as the limit lets it be.
    assert world.slurm.calls["submit"] == 3
    assert world.container(large).slurm_job_id is not None
