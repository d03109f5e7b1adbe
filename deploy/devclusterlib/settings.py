"""The settings of one dev cluster: its name, directories and ports, and where they are kept between calls."""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE_FILE = "/etc/devcluster.json"
COMMIT_FILE = "/run/devcluster/commit"
NODES = 4
FIRST_PORT = 17100
PORTS = 60
OSD_STORES = {"memory": 6 << 30, "file": 64 << 30}  # where objects are, and for how many bytes
STORE_HOST = "s3.cts.test"  # with TLS; buckets stand before it

_OFFSETS = {
    "slurmctld": 0,
    "slurmdbd": 1,
    "slurmd": 2,
    "sshd": 6,
    "registry": 7,
    "rgw": 8,
    "mon": 9,
    "osd": 10,
    "gateway": 51,  # after those that the OSD may take
    "private-registry": 54,
    "slurmrestd": 55,
    "s3-tls": 56,
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
    osd_bytes: int = OSD_STORES["memory"]
    osd_store: str = "memory"

    def port(self, part: str, number: int = 0) -> int:
        """Return the port of a part (of its `number`-th instance)."""
        return self.base_port + _OFFSETS[part] + number

    @property
    def ports(self) -> list[int]:
        """All fixed ports that the cluster listens on; the OSD takes free ones of the rest of its 60."""
        single = [
            self.port(part)
            for part in (
                *("slurmctld", "slurmdbd", "sshd", "registry", "private-registry"),
                *("rgw", "s3-tls", "mon", "gateway", "slurmrestd"),
            )
        ]
        return sorted(single + [self.port("slurmd", number) for number in range(NODES)])

    @property
    def registry(self) -> str:
        """Address of the OCI registry, host:port."""
        return f"127.0.0.1:{self.port('registry')}"

    @property
    def private_registry(self) -> str:
        """Address of the OCI registry that wants a login, host:port."""
        return f"127.0.0.1:{self.port('private-registry')}"

    @property
    def s3_endpoint(self) -> str:
        """URL of the S3 service."""
        return f"http://127.0.0.1:{self.port('rgw')}"

    @property
    def store_url(self) -> str:
        """URL of the S3 service by TLS, under a name that the site alone knows."""
        return f"https://{STORE_HOST}:{self.port('s3-tls')}"

    @property
    def slurmrestd_url(self) -> str:
        """URL of slurmrestd, which listens on a socket of the site, too."""
        return f"http://127.0.0.1:{self.port('slurmrestd')}"

    @property
    def gateway_url(self) -> str:
        """URL of the gateway's TLS listener."""
        return f"https://127.0.0.1:{self.port('gateway')}"

    @property
    def search_path(self) -> str:
        """PATH of commands in the site: the gateway's and, where it has its own prefix, Slurm's come first."""
        path = "/opt/cts/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        if self.slurm_prefix:
            path = f"{self.slurm_prefix}/bin:{self.slurm_prefix}/sbin:{path}"
        return path

    def save(self) -> None:
        """Keep the settings in the cluster's directory."""
        path = Path(self.directory) / "settings.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> Settings | None:
        """Read settings kept earlier; None when there are none.

        Raises
        ------
        ClusterError
            When they cannot be understood.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise ClusterError(
                f"{path} cannot be understood ({exc}): 'deploy/devcluster destroy' removes that cluster"
            ) from exc


def shared_with_tests() -> Mapping[str, str]:
    """Return the section [test] of test.cfg in the checkout: tests and dev cluster agree on it.

    Raises
    ------
    ClusterError
        When it cannot be read.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read(CHECKOUT / "test.cfg")
    except configparser.Error as exc:
        raise ClusterError(f"test.cfg: {str(exc).splitlines()[0]}") from exc
    return parser["test"] if parser.has_section("test") else {}


def cluster_name(option: str | None) -> str:
    """Which cluster: the option, $CTS_CLUSTER, `cluster` in test.cfg, or `dev`.

    Raises
    ------
    ClusterError
        When it cannot name a directory, a cgroup and a Slurm cluster alike.
    """
    name = option or os.environ.get("CTS_CLUSTER") or shared_with_tests().get("cluster") or "dev"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise ClusterError(
            f"the cluster's name {name!r}: 1 to 31 small letters, digits and '-', a letter first"
        )
    return name


def cache_directory(option: str | None) -> Path:
    """Where root file systems and clusters are kept: the option, $CTS_CACHE, test.cfg, or ~/.cache/cts.

    Raises
    ------
    ClusterError
        When it is inside the checkout, or has characters that mount options cannot hold.
    """
    chosen = option or os.environ.get("CTS_CACHE") or shared_with_tests().get("cache")
    path = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cts"
    )
    path = path.absolute()
    if path.resolve().is_relative_to(CHECKOUT):
        raise ClusterError(
            f"the cache directory {path} is inside the checkout; choose one outside with --cache"
        )
    if any(character in str(path) for character in ':,\\"'):
        raise ClusterError(
            f'the cache directory {path} has one of : , \\ " in its name, which a mount cannot take; choose another with --cache'
        )
    return path


def base_port(option: int | None, kept: Settings | None) -> int:
    """First of the cluster's 60 ports: the option, $CTS_BASE_PORT, as last time, or 17100.

    Raises
    ------
    ClusterError
        When it is no number, or leaves no room for 60 unprivileged ports.
    """
    text = os.environ.get("CTS_BASE_PORT", "")
    if option is not None:
        port = option
    elif text and not text.isdecimal():
        raise ClusterError(f"CTS_BASE_PORT is {text!r}; a port number is needed")
    elif text:
        port = int(text)
    else:
        port = kept.base_port if kept is not None else FIRST_PORT
    if not 1024 <= port <= 65536 - PORTS:
        raise ClusterError(f"base port {port}: it must be from 1024 to {65536 - PORTS}")
    return port
