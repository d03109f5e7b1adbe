"""How many tasks Slurm lets a user have in its queue: limits of associations and of QOS, read by sacctmgr.

By a site's hands, whatever road its Slurm is asked by: they change seldom, and are kept for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import SiteError
from gateway.slurm.hands import Hands

_ASSOCIATION = "Account,User,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
_QOS = "Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs"


@dataclass(frozen=True)
class SubmitLimits:
    """What is known of them; by default nothing is limited.

    `accounts` and `qos` have the most tasks of an account or a QOS, waiting and running; `default_qos` is by account.
    """

    default_account: str | None = None
    accounts: Mapping[str, int] = field(default_factory=dict)
    qos: Mapping[str, int] = field(default_factory=dict)
    default_qos: Mapping[str, str] = field(default_factory=dict)

    def of(self, account: str | None, qos: str | None) -> dict[tuple[str, str], int]:
        """Return the limits that hold for a job, by kind and name: `("account", "lab")`, `("QOS", "debug")`."""
        charged = account or self.default_account
        served = qos or self.default_qos.get(charged or "")
        found = {}
        if charged in self.accounts:
            found["account", charged or ""] = self.accounts[charged or ""]
        if served in self.qos:
            found["QOS", served or ""] = self.qos[served or ""]
        return found


def read_submit_limits(
    hands: Hands, bin_dir: str | None, user: str, timeout: float
) -> SubmitLimits:
    """Ask Slurm's accounting for the limits of a user's jobs.

    Raises
    ------
    SiteError
        When it does not answer.
    """

    def ask(*arguments: str) -> list[list[str]]:
        argv = [f"{bin_dir}/sacctmgr" if bin_dir else "sacctmgr", "-nP", "show", *arguments]
        done = hands.run(argv, timeout)
        if done.returncode != 0:
            raise SiteError(f"sacctmgr: {done.stderr.strip()[-200:] or done.returncode}")
        return [line.split("|") for line in done.stdout.splitlines()]

    default = next(iter(ask("user", user, "format=DefaultAccount")), [""])[0]
    mine = [row[0] for row in ask("assoc", f"users={user}", "format=Account")]
    if not mine:
        return SubmitLimits()
    accounts: dict[str, int] = {}
    default_qos: dict[str, str] = {}
    for row in ask("assoc", f"accounts={','.join(sorted(set(mine)))}", f"format={_ASSOCIATION}"):
        if len(row) != 5 or row[1] not in ("", user):
            continue
        account, whose, qos, most, group = row
        if whose and qos:
            default_qos[account] = qos
        # Of the account itself only what all of its users have together; the other one they have inherited.
        _least(accounts, account, most if whose else "", group)
    qos_limits: dict[str, int] = {}
    for row in ask("qos", f"format={_QOS}"):
        if len(row) == 4:
            _least(qos_limits, row[0], *row[1:])
    return SubmitLimits(default or None, accounts, qos_limits, default_qos)


def _least(found: dict[str, int], name: str, *values: str) -> None:
    numbers = [int(value) for value in values if value.isascii() and value.isdigit()]
    if numbers:
        found[name] = min([*numbers, *([found[name]] if name in found else [])])
