"""What jobs can ask Slurm for in the site: features, GPUs that are none, a licence, QOS, accounts, a reservation."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from devclusterlib.parts import must, quiet

RESERVATION = "training"
_GPUS = 2  # of each of n3 and n4
_DEVICES = "/dev/fakegpu"

# The plain nodes and those with GPUs, as (first, last, what slurm.conf says of them).
NODE_KINDS = (
    (1, 2, "Features=cpu"),
    (3, 4, f"Features=cpu,highmem Gres=gpu:{_GPUS}"),
)
SLURM_CONF = """\
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu,license/matlab
GresTypes=gpu
Licenses=matlab:2
"""
GRES_CONF = f"""\
AutoDetect=off
NodeName=n[3-4] Name=gpu File={_DEVICES}[0-{_GPUS - 1}]
"""


def make_devices() -> None:
    """Make the files that stand for GPUs: each is another /dev/null."""
    for number in range(_GPUS):
        path = Path(f"{_DEVICES}{number}")
        if not path.exists():
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
            path.chmod(0o666)


def ensure_accounting(cluster: str) -> None:
    """Have the accounting know the cluster, its users in their accounts, and the QOS; slurmctld wants them at its start.

    Not where a test has taken the accounting out of slurm.conf.
    """
    if "accounting_storage/none" in Path("/etc/slurm/slurm.conf").read_text(encoding="utf-8"):
        return
    if not quiet("sh", "-c", f"sacctmgr -n show cluster {cluster} | grep -q ."):
        quiet("sacctmgr", "-i", "add", "cluster", cluster)
    last = "sacctmgr -n -P show assoc user=ctsjob account=lab format=qos | grep -q debug"
    if quiet("sh", "-c", last):
        return
    for account in ("dev", "lab"):
        if not quiet("sh", "-c", f"sacctmgr -n show account {account} | grep -q ."):
            text = (f"Description={account}", f"Organization={account}")
            must("sacctmgr", "-i", "add", "account", account, *text)
    if not quiet("sh", "-c", "sacctmgr -n show assoc user=ctsjob account=dev | grep -q ."):
        must("sacctmgr", "-i", "add", "user", "alice,bob,ada,ctsjob", "DefaultAccount=dev")
    if not quiet("sh", "-c", "sacctmgr -n show assoc user=ctsjob account=lab | grep -q ."):
        must("sacctmgr", "-i", "add", "user", "ctsjob", "account=lab")
    for name, limits in (("regular", ()), ("debug", ("MaxWall=30", "Flags=DenyOnLimit"))):
        if not quiet("sh", "-c", f"sacctmgr -n show qos {name} | grep -q ."):
            must("sacctmgr", "-i", "add", "qos", name, *limits)
    for account in ("dev", "lab"):
        where = ("user", "where", "name=ctsjob", f"account={account}")
        must("sacctmgr", "-i", "modify", *where, "set", "qos=normal,regular,debug")


def ensure_reservation() -> None:
    """Make the reservation, two cores of n4 for the jobs' user; slurmctld keeps it over restarts."""
    if quiet("sh", "-c", f"scontrol show reservation {RESERVATION} | grep -q Name={RESERVATION}"):
        return
    what = (
        "Users=ctsjob",
        "StartTime=now",
        "Duration=UNLIMITED",
        "Nodes=n4",
        "CoreCnt=2",
        "Flags=IGNORE_JOBS",
    )
    must("scontrol", "create", "reservation", f"ReservationName={RESERVATION}", *what)
