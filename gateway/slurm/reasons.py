"""Why Slurm lets a job wait, in words: its reason codes, and the limits that many of them name.

Source: JOB REASON CODES of squeue(1) and `job_reasons` of Slurm's sources, 22.05 to 26.05. Slurm's own word stands behind
each sentence, for those who look it up.
"""

from __future__ import annotations

import re

TABLE: dict[str, str] = {
    "Resources": "waits for free nodes, CPUs or memory",
    "Priority": "waits behind jobs of higher priority",
    "Dependency": "waits for another Slurm job to end",
    "DependencyNeverSatisfied": "waits for a Slurm job that did not end as it had to; tell the gateway's admins",
    "BeginTime": "waits for the time at which it may begin",
    "Licenses": "waits for licenses that other jobs hold",
    "Reservation": "waits for its reservation to begin",
    "ReservationDeleted": "waits for a reservation that was deleted; cancel it, and ask for another",
    "ReqNodeNotAvail": "waits for nodes that are down, drained or reserved",
    "NodeDown": "waits for a node that is down",
    "BadConstraints": "asks for what no node has; cancel it, and ask for less or for other features",
    "PartitionDown": "waits because its partition does not start jobs now",
    "PartitionInactive": "waits because its partition takes no jobs now",
    "PartitionNodeLimit": "asks for more nodes than its partition allows; cancel it, and ask for fewer",
    "PartitionTimeLimit": "asks for more time than its partition allows; cancel it, and ask for a shorter runtime",
    "PartitionConfig": "asks for what its partition does not allow; tell the gateway's admins",
    "AccountNotAllowed": "its account may not use its partition; tell the gateway's admins",
    "QOSNotAllowed": "its QOS may not be used there; tell the gateway's admins",
    "InvalidAccount": "its Slurm account is not valid (any more); tell the gateway's admins",
    "InvalidQOS": "its QOS is not valid (any more); tell the gateway's admins",
    "JobHeldAdmin": "was held by an admin of Slurm, who must release it",
    "JobHeldUser": "was held in Slurm by the user that the gateway's jobs run as; tell the gateway's admins",
    "JobHoldMaxRequeue": "was put back into the queue too often; tell the gateway's admins",
    "JobArrayTaskLimit": "waits because its array may have no more tasks running at one time",
    "JobLaunchFailure": "could not be started on a node, and is started again",
    "job requeued in held state": "was put back into the queue and is held until an admin of Slurm releases it",
    "launch failed requeued held": "could not be started on a node, and is held until an admin of Slurm releases it",
    "QOSJobLimit": "waits because as many jobs as its QOS allows are running",
    "QOSResourceLimit": "waits because a limit of its QOS is reached",
    "QOSTimeLimit": "asks for more time than its QOS allows; cancel it, and ask for a shorter runtime",
    "QOSUsageThreshold": "waits because its QOS was used too much of late",
    "AssociationJobLimit": "waits because as many jobs as its account allows are running",
    "AssociationResourceLimit": "waits because a limit of its account is reached",
    "AssociationTimeLimit": "asks for more time than its account allows; cancel it, and ask for a shorter runtime",
    "MaxMemPerLimit": "asks for more memory than Slurm allows a job; cancel it, and ask for less",
    "BurstBufferResources": "waits for room in the burst buffer",
    "BurstBufferStageIn": "waits for data to be staged into the burst buffer",
    "BurstBufferOperation": "waits for the burst buffer",
    "Cleaning": "waits for its run before to be cleaned up",
    "Prolog": "waits for the prolog of its nodes",
    "FedJobLock": "waits for another cluster of the federation",
    "SchedDefer": "waits for Slurm's next round of scheduling",
    "DeadLine": "cannot end before its deadline",
    "FrontEndDown": "waits for a front end of the cluster that is down",
    "PowerNotAvail": "waits for electrical power",
    "PowerReserved": "waits for electrical power that is reserved",
    "NodePowerDown": "waits for nodes to be switched on",
    "SystemFailure": "waits because of a failure of Slurm; tell the gateway's admins",
}
# Sentences that squeue shows in place of a code.
_TEXTS = {
    "Nodes required for job are DOWN": "ReqNodeNotAvail",
}

_LIMIT = re.compile(
    r"(Assoc|QOS)(Grp|Max|Min)(.+?)(RunMinutes|Minutes)?(PerJob|PerNode|PerUser|PerAccount|PerAcct|PU|PA)?(?:Limit|NotSatisfied)?",
    re.ASCII,
)
_WHAT = {
    "Jobs": "jobs",
    "JobSubmit": "submitted jobs",
    "SubmitJobs": "submitted jobs",
    "SubmitJob": "submitted jobs",
    "Submit": "submitted jobs",
    "Cpu": "CPUs",
    "CPU": "CPUs",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "GRES": "GPUs or the like",
    "Gres": "GPUs or the like",
    "License": "licenses",
    "BB": "burst buffer",
    "Billing": "billing units",
    "Energy": "energy",
    "Wall": "time",
    "WallDuration": "time",
    "Prio": "priority",
    "Unknown": "resources",
}
_WHOSE = {
    "Grp": "all jobs of it together",
    "PerJob": "a job",
    "PerNode": "a node",
    "PerUser": "each user",
    "PU": "each user",
    "PerAccount": "each account",
    "PerAcct": "each account",
    "PA": "each account",
}


def explain(reason: str) -> str | None:
    """Say a reason as squeue shows it (`%r`) in words, Slurm's own behind them; None where squeue shows none.

    A reason that is not known here is told as it is.
    """
    said = " ".join(reason.replace("_", " ").split())  # some releases write _ for a space
    if said in ("", "None", "(null)"):
        return None
    words = _sentence(said)
    return f"waits in Slurm ({said})" if words is None else f"{words} ({said})"


def _sentence(said: str) -> str | None:
    for begin, code in _TEXTS.items():
        if said.startswith(begin):
            return TABLE[code]
    code = said.partition(",")[0].partition(":")[0]
    return TABLE.get(code) or _limit(code)


def _limit(code: str) -> str | None:
    """Read the name of a limit: `AssocGrpCpuLimit`, `QOSMaxJobsPerUserLimit`, `QOSGrpNodeRunMinutes`."""
    match = _LIMIT.fullmatch(code)
    if match is None:
        return None
    where, kind, what, minutes, whose = match.groups()
    place = "its QOS" if where == "QOS" else "its account"
    thing = _WHAT.get(what, what)
    if minutes is not None:
        thing = f"minutes of {thing}"
    of = _WHOSE.get("Grp" if kind == "Grp" else whose or "")
    if kind == "Min":
        return f"asks for less {thing} than {place} demands; cancel it, and ask for more"
    suffix = f" for {of}" if of is not None else ""
    return f"waits because a limit on {thing} of {place}{suffix} is reached"
