"""munge, MariaDB, slurmdbd, slurmctld, four slurmd and slurmrestd, with real accounting and memory limits."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from devclusterlib import resources
from devclusterlib.parts import Part, must, quiet
from devclusterlib.settings import NODES, Settings

REST_SOCKET = Path("/run/slurmrestd/slurmrestd.sock")
_REST_USER = "slurmrestd"
_TOKEN_KEY = Path("/etc/slurm/jwt_hs256.key")
_TOKENS = f"AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={_TOKEN_KEY}\n"

_CGROUP = {
    "v1": (
        "proctrack/cgroup",
        "task/cgroup",
        "jobacct_gather/cgroup",
        "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n",
    ),
    "v2": (
        "proctrack/cgroup",
        "task/cgroup",
        "jobacct_gather/cgroup",
        "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n",
    ),
    "none": ("proctrack/linuxproc", "task/none", "jobacct_gather/linux", "CgroupPlugin=disabled\n"),
}


def write_configuration(settings: Settings) -> str | None:
    """Write Slurm's configuration, and make the files and directories it names.

    Where slurmctld and the nodes run with another one, they are stopped, for `up` to start them again; jobs go on.
    """
    track, task, gather, cgroup = _CGROUP[settings.cgroup]
    first = settings.port("slurmd")
    etc = Path("/etc/slurm")
    etc.mkdir(exist_ok=True)
    before = _read(etc)
    nodes = "".join(
        f"NodeName=n[{a}-{b}] NodeHostname=localhost NodeAddr=127.0.0.1 "
        f"Port=[{first + a - 1}-{first + b - 1}] CPUs=16 RealMemory=16000 State=UNKNOWN {what}\n"
        for a, b, what in resources.NODE_KINDS
    )
    (etc / "slurm.conf").write_text(f"""\
ClusterName={settings.name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={settings.port("slurmctld")}
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
{_TOKENS}StateSaveLocation={_state(settings)}
SlurmdSpoolDir=/var/spool/slurmd-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmdParameters=config_overrides
SlurmctldParameters=idle_on_node_suspend
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000,bf_interval=1,bf_yield_interval=100000
ProctrackType={track}
TaskPlugin={task}
JobAcctGatherType={gather}
JobAcctGatherFrequency=task=1
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={settings.port("slurmdbd")}
AccountingStoreFlags=job_comment
MinJobAge=300
KillWait=5
SlurmdTimeout=60
MaxArraySize=10001
MaxJobCount=50000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
{resources.SLURM_CONF}{nodes}PartitionName=regular Nodes=ALL Default=YES MaxTime=2-0 State=UP
PartitionName=debug Nodes=n1 MaxTime=30 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 State=UP
""")
    _secret(_TOKEN_KEY)
    (etc / "gres.conf").write_text(resources.GRES_CONF)
    resources.make_devices()
    (etc / "cgroup.conf").write_text(cgroup)
    dbd = etc / "slurmdbd.conf"
    dbd.write_text(f"""\
AuthType=auth/munge
{_TOKENS}DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={settings.port("slurmdbd")}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc={_database(settings)}
CommunicationParameters=NoInAddrAny
PidFile=/run/slurmdbd.pid
""")
    dbd.chmod(0o600)
    shutil.chown(dbd, "slurm")
    for directory in (_state(settings), "/var/log/slurm"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        shutil.chown(directory, "slurm", "slurm")
    if before == _read(etc):
        return None
    old = [part for part in parts(settings) if part.name.startswith("slurm")]
    return "changed" if sum(part.stop() for part in old) else None


def _read(etc: Path) -> list[str]:
    files = [etc / name for name in ("slurm.conf", "gres.conf", "slurmdbd.conf")]
    return [path.read_text() if path.exists() else "" for path in files]


def _of_prefix(settings: Settings) -> str:
    """Tell one Slurm's state from another's: an older version cannot read what a newer one has written."""
    name = Path(settings.slurm_prefix).name if settings.slurm_prefix else ""
    return re.sub(r"[^a-z0-9]+", "_", f"_{name}".lower()) if name else ""


def _state(settings: Settings) -> str:
    return f"/var/spool/slurmctld{_of_prefix(settings)}"


def _database(settings: Settings) -> str:
    return f"slurm_acct_db{_of_prefix(settings)}"


def parts(settings: Settings) -> list[Part]:
    """Return the parts in the order in which they start."""
    prefix = settings.slurm_prefix
    sbin = f"{prefix}/sbin/" if prefix else "/usr/sbin/"
    rest = [
        Part(
            f"slurmd-n{number}",
            [f"{sbin}slurmd", "-D", "-N", f"n{number}"],
            _node_up(f"n{number}"),
            _spool(f"/var/spool/slurmd-n{number}"),
            after=resources.ensure_reservation if number == NODES else None,
        )
        for number in range(1, NODES + 1)
    ]
    return [
        Part(
            "munge",
            ["/usr/sbin/munged", "-F"],
            lambda: quiet("munge", "-n"),
            _prepare_munge,
            user="munge",
        ),
        Part(
            "mariadb",
            [
                "/usr/sbin/mariadbd",
                "--user=mysql",
                "--datadir=/var/lib/mariadb",
                "--skip-networking",
                "--socket=/run/mariadbd/mysqld.sock",
                "--innodb-snapshot-isolation=OFF",
                "--innodb-lock-wait-timeout=900",
            ],
            lambda: quiet("mariadb", "-e", "select 1"),
            _prepare_mariadb,
            after=lambda: _accounting_database(settings),
        ),
        Part(
            "slurmdbd",
            [f"{sbin}slurmdbd", "-D"],
            lambda: quiet("sacctmgr", "-n", "show", "cluster"),
            user="slurm",
        ),
        Part(
            "slurmctld",
            [f"{sbin}slurmctld", "-D", "-i"],
            lambda: quiet("scontrol", "ping"),
            lambda: resources.ensure_accounting(settings.name),
            user="slurm",
        ),
        *rest,
        Part(
            "slurmrestd",
            [
                *("env", "SLURM_JWT=daemon", f"{sbin}slurmrestd", "-a", "rest_auth/jwt"),
                *(f"unix:{REST_SOCKET}", f"127.0.0.1:{settings.port('slurmrestd')}"),
            ],
            lambda: quiet(
                "curl", "-s", "-o", "/dev/null", "--unix-socket", str(REST_SOCKET), "http://x/"
            ),
            _prepare_rest,
            user=_REST_USER,
        ),
    ]


def _secret(path: Path) -> None:
    if not path.exists():
        path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    shutil.chown(path, "slurm", "slurm")


def _prepare_rest() -> None:
    if not quiet("id", _REST_USER):
        must("useradd", "--system", "--user-group", _REST_USER)
    REST_SOCKET.parent.mkdir(exist_ok=True)
    shutil.chown(REST_SOCKET.parent, _REST_USER, _REST_USER)
    REST_SOCKET.unlink(missing_ok=True)


def _node_up(node: str) -> Callable[[], bool]:
    def ready() -> bool:
        return quiet(
            "sh", "-c", f"sinfo -h -n {node} -o %t | grep -q -E 'idle|mix|alloc|comp|resv'"
        )

    return ready


def _spool(directory: str) -> Callable[[], None]:
    def prepare() -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)

    return prepare


def _prepare_munge() -> None:
    for directory in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        shutil.chown(directory, "munge", "munge")
    Path("/run/munge").chmod(0o755)
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.write_bytes(os.urandom(128))
    shutil.chown(key, "munge", "munge")
    key.chmod(0o400)


def _prepare_mariadb() -> None:
    for directory in ("/run/mysqld", "/run/mariadbd"):
        Path(directory).mkdir(exist_ok=True)
        shutil.chown(directory, "mysql", "mysql")
    made = Path("/var/lib/mariadb")
    if not (made / "mysql").is_dir():
        part = made.with_suffix(".part")
        for left in (made, part):
            shutil.rmtree(left, ignore_errors=True)
        must(
            "mariadb-install-db",
            "--user=mysql",
            f"--datadir={part}",
            "--auth-root-authentication-method=socket",
        )
        part.rename(made)


def _accounting_database(settings: Settings) -> None:
    name = _database(settings)
    must(
        "mariadb",
        "-e",
        f"create database if not exists {name};"
        "create user if not exists slurm@localhost identified via unix_socket;"
        f"grant all on {name}.* to slurm@localhost;",
    )
