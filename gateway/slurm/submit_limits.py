"""What Slurm lets a user have: tasks in its queue, and minutes of a job, by limits of the cluster, of associations and of QOS.

Read by scontrol and sacctmgr with a site's hands, whatever road its Slurm is asked by: they change seldom, and are kept for
minutes. Where a QOS has a limit, it stands in place of the association's of the same kind, as in Slurm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.errors import SiteError
from gateway.slurm import parsing
from gateway.slurm.hands import Hands

_ASSOCIATION = "Account,User,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs,MaxWall"
_QOS = "Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs,MaxWall"


class Most(NamedTuple):
    """The limits of an account, or of a QOS; None where there is none.

    `tasks` is of each user (of an account or QOS together, too, for a QOS), `group` of all users together, both waiting and
    running; `minutes` of a job.
    """

    tasks: int | None = None
    group: int | None = None
    minutes: int | None = None


_NONE = Most()


@dataclass(frozen=True)
class SubmitLimits:
    """What is known of them; by default nothing is limited. `default_qos` is by account; `cluster` of all tasks in Slurm."""

    default_account: str | None = None
    accounts: Mapping[str, Most] = field(default_factory=dict)
    qos: Mapping[str, Most] = field(default_factory=dict)
    default_qos: Mapping[str, str] = field(default_factory=dict)
    cluster: int | None = None

    def of(self, account: str | None, qos: str | None) -> dict[str, int]:
        """Return the most tasks that a job may be among, by what limits them: `the account lab`, `the QOS debug`."""
        charged, served, mine, its = self._both(account, qos)
        own = [
            most
            for most, instead in ((mine.tasks, its.tasks), (mine.group, its.group))
            if most is not None and instead is None
        ]
        served_most = [most for most in (its.tasks, its.group) if most is not None]
        found = {f"the account {charged}": min(own)} if own else {}
        if served_most:
            found[f"the QOS {served}"] = min(served_most)
        if self.cluster is not None:
            found["all users together (MaxJobCount)"] = self.cluster
        return found

    def minutes(self, account: str | None, qos: str | None) -> tuple[str, int] | None:
        """Return what limits the time of a job, such as `QOS debug`, and the minutes that it may have."""
        charged, served, mine, its = self._both(account, qos)
        if its.minutes is not None:
            return f"QOS {served}", its.minutes
        return None if mine.minutes is None else (f"account {charged}", mine.minutes)

    def _both(self, account: str | None, qos: str | None) -> tuple[str, str, Most, Most]:
        charged = account or self.default_account or ""
        served = qos or self.default_qos.get(charged) or ""
        return charged, served, self.accounts.get(charged, _NONE), self.qos.get(served, _NONE)


def read_submit_limits(
    hands: Hands, bin_dir: str | None, user: str | None, timeout: float
) -> SubmitLimits:
    """Ask Slurm for the limits of a user's jobs, or, without a user, for those of the cluster alone.

    Raises
    ------
    SiteError
        When it does not answer.
    """

    def ask(program: str, *arguments: str) -> str:
        argv = [f"{bin_dir}/{program}" if bin_dir else program, *arguments]
        done = hands.run(argv, timeout)
        if done.returncode != 0:
            raise SiteError(f"{program}: {done.stderr.strip()[-200:] or done.returncode}")
        return done.stdout

    def rows(*arguments: str) -> list[list[str]]:
        return [line.split("|") for line in ask("sacctmgr", "-nP", "show", *arguments).splitlines()]

    config = parsing.config_values(ask("scontrol", "show", "config"))
    cluster = _number(config.get("MaxJobCount", ""))
    enforced = {"limits", "safe", "all"} & set(
        config.get("AccountingStorageEnforce", "").split(",")
    )
    if user is None or not enforced:
        return SubmitLimits(cluster=cluster)
    default = next(iter(rows("user", user, "format=DefaultAccount")), [""])[0]
    mine = [row[0] for row in rows("assoc", f"users={user}", "format=Account")]
    if not mine:
        return SubmitLimits(cluster=cluster)
    accounts: dict[str, Most] = {}
    default_qos: dict[str, str] = {}
    for row in rows("assoc", f"accounts={','.join(sorted(set(mine)))}", f"format={_ASSOCIATION}"):
        if len(row) != 6 or row[1] not in ("", user):
            continue
        account, whose, qos, most, group, wall = row
        if whose and qos:
            default_qos[account] = qos
        # Of the account itself only what all of its users have together; the others they have inherited.
        before = accounts.get(account, _NONE)
        accounts[account] = Most(
            _least(before.tasks, most if whose else ""),
            _least(before.group, group),
            _minutes(wall) if whose else before.minutes,
        )
    qos_limits: dict[str, Most] = {}
    for row in rows("qos", f"format={_QOS}"):
        if len(row) == 5:
            name, per_user, per_account, group, wall = row
            qos_limits[name] = Most(
                _least(_number(per_user), per_account), _number(group), _minutes(wall)
            )
    return SubmitLimits(default or None, accounts, qos_limits, default_qos, cluster)


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() else None


def _least(one: int | None, value: str) -> int | None:
    numbers = [number for number in (one, _number(value)) if number is not None]
    return min(numbers, default=None)


def _minutes(value: str) -> int | None:
    return int(parsing.cpu_seconds(value)) // 60 if value else None
