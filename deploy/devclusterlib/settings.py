"""The settings of one dev cluster: directories, ports, and where they are kept between calls."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE_FILE = "/etc/devcluster.json"
NODES = 4

_OFFSETS = {
    "slurmctld": 0,
    "slurmdbd": 1,
    "slurmd": 2,
    "sshd": 6,
    "registry": 7,
    "rgw": 8,
    "mon": 9,
    "osd": 10,
}


class ClusterError(Exception):
    """Something is missing or went wrong; the text is one line that says what to do."""


@dataclass(frozen=True)
class Settings:
    """What distinguishes one cluster from another. Ports are `base_port` + a fixed offset, all on loopback."""

    name: str
    cache: str
    directory: str
    base_port: int
    slurm_prefix: str | None
    cgroup: str
    checkout: str = str(CHECKOUT)
    osd_bytes: int = 6 << 30

    def port(self, part: str, number: int = 0) -> int:
        """Return the port of a part (of its `number`-th instance)."""
        return self.base_port + _OFFSETS[part] + number

    @property
    def ports(self) -> list[int]:
        """All ports that the cluster listens on."""
        single = [
            self.port(part) for part in ("slurmctld", "slurmdbd", "sshd", "registry", "rgw", "mon")
        ]
        return single + [self.port("slurmd", number) for number in range(NODES)]

    @property
    def registry(self) -> str:
        """Address of the OCI registry, host:port."""
        return f"127.0.0.1:{self.port('registry')}"

    @property
    def s3_endpoint(self) -> str:
        """URL of the S3 service."""
        return f"http://127.0.0.1:{self.port('rgw')}"

    def save(self) -> None:
        """Keep the settings in the cluster's directory."""
        path = Path(self.directory) / "settings.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Settings | None:
        """Read settings kept earlier; None when there are none."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


def cache_directory(option: str | None) -> Path:
    """Where root file systems and clusters are kept: the option, $CTS_CACHE, or ~/.cache/cts."""
    chosen = option or os.environ.get("CTS_CACHE")
    path = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cts"
    )
    path = path.absolute()
    if path == CHECKOUT or CHECKOUT in path.parents:
        raise ClusterError(
            f"the cache directory {path} is inside the checkout; choose one outside with --cache"
        )
    return path


def cgroup_flavour() -> str:
    """Find out which cgroups the machine has: `v1`, `v2` or `none`."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if any(row[2] == "cgroup" and "memory" in row[3].split(",") for row in mounted):
        return "v1"
    if any(row[2] == "cgroup2" and row[1] == "/sys/fs/cgroup" for row in mounted):
        controllers = Path("/sys/fs/cgroup/cgroup.controllers")
        if controllers.exists() and "memory" in controllers.read_text().split():
            return "v2"
    return "none"
