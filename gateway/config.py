"""The daemon's configuration: one TOML file, read once, every key checked.

`deploy/gateway.toml.example` documents each key. Secrets are named by file, never written here.
"""

from __future__ import annotations

import difflib
import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from gateway.errors import ConfigError

STORE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*:[^/@]+@")
SITE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ANY_SITE = "any"  # in place of a site's name: the one that would start a job first


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", re.ASCII)
_JUMP = re.compile(
    r"(?:([A-Za-z0-9_][A-Za-z0-9_.-]{0,31})@)?(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9][A-Za-z0-9.-]*))(?::([0-9]{1,5}))?",
    re.ASCII,
)
_SOCKET_BYTES = 107  # unix(7)
_LOG_AREA = re.compile(
    r"(?:[a-z0-9][a-z0-9-]{0,62}:)?[a-z0-9][a-z0-9-]{1,61}[a-z0-9](?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*/?",
    re.ASCII,
)
_REST_URL = re.compile(
    r"unix:/[A-Za-z0-9_.+/-]{1,106}|https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
)
_NODE_URL = re.compile(r"https://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
_CLEAR = re.compile(r"http://(?!127\.0\.0\.1:|localhost:|\[::1\]:)")
_SAFE_PATH = re.compile(r"/[A-Za-z0-9_.+/-]*")


def _shell_safe(path: Path) -> Path:
    """Paths that stand in the batch script: characters that no shell takes for anything."""
    if not _SAFE_PATH.fullmatch(str(path)):
        raise ValueError("must be absolute and of the characters A-Z a-z 0-9 _ . + - / only")
    return path


def _socket_path(path: Path) -> Path:
    if len(str(path).encode()) > _SOCKET_BYTES:
        raise ValueError(f"a socket's path has at most {_SOCKET_BYTES} bytes; use a shorter one")
    return path


def listen_address(text: str) -> tuple[str, int]:
    """Split `host:port`, `[IPv6]:port`.

    Raises
    ------
    ValueError
        When it is neither.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError("must be host:port, such as 0.0.0.0:8443 or [::]:8443")
    return match[1] or match[2], int(match[3])


def jump_address(text: str) -> tuple[str | None, str, int]:
    """Split `[user@]host[:port]`, port 22 where there is none.

    Raises
    ------
    ValueError
        When it is something else.
    """
    match = _JUMP.fullmatch(text)
    if match is None or not 1 <= int(match[4] or 22) <= 65535:
        raise ValueError("must be [user@]host[:port], such as cts@gate.example.org")
    return match[1], match[2] or match[3], int(match[4] or 22)


def _jump(text: str) -> str:
    jump_address(text)
    return text


def _rest_url(text: str) -> str:
    if not _REST_URL.fullmatch(text):
        raise ValueError(
            "must be unix: and an absolute path, or http:// or https://, a host and a port, such as http://127.0.0.1:6820"
        )
    return text


def _node_url(text: str) -> str:
    if not _NODE_URL.fullmatch(text):
        raise ValueError(
            "must be https:// and a host, and a port, such as https://cts.example.org:8443"
        )
    return text


def _listen(text: str) -> str:
    listen_address(text)
    return text


def _area(text: str) -> str:
    if ":" in text:
        raise ValueError("must be a bucket of this store, or bucket/prefix, without a store's name")
    return _log_area(text)


def _log_area(text: str) -> str:
    if not _LOG_AREA.fullmatch(text):
        raise ValueError("must be a bucket, or bucket/prefix, such as logs/cts")
    return text.rstrip("/")


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
ScriptPath = Annotated[Path, AfterValidator(_shell_safe)]
Bytes = Annotated[
    int, BeforeValidator(lambda v: ByteSize._validate(v, None) if isinstance(v, str) else v)
]
UserName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$")]
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}$")]
LicenseName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(@[A-Za-z0-9_.-]{1,63})?$")
]
FeatureName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$")]
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+/-]{0,127}$")]
Principal = Annotated[str, Field(pattern=r"^%?[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$")]
BucketPattern = Annotated[
    str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,62})?\*$|^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
]
Minutes = Annotated[int, Field(ge=0, le=527_040)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GatewaySection(_Section):
    """[gateway]: what the service calls itself."""

    name: str = "CDM Task Service"
    instance: str = Field(default="cts", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    notes: str | None = None
    log_format: Literal["text", "json"] = "text"


class ApiSection(_Section):
    """[api]: where the daemon listens."""

    socket: Annotated[AbsolutePath, AfterValidator(_socket_path)] = Path("/run/cts/cts.sock")
    listen: Annotated[str, AfterValidator(_listen)] | None = None
    tls_certificate: AbsolutePath | None = None
    tls_key: AbsolutePath | None = None
    token_max_days: int = Field(default=365, ge=1, le=3650)

    @model_validator(mode="after")
    def _tls_only(self) -> ApiSection:
        if self.listen is not None and (self.tls_certificate is None or self.tls_key is None):
            raise ValueError(
                "listen needs tls_certificate and tls_key: tokens never go over a line that others can read"
            )
        return self


class DatabaseSection(_Section):
    """[database]: an SQLAlchemy URL, or a file that holds one (for URLs with a password); the file goes before."""

    url: str = "sqlite:////var/lib/cts/cts.db"
    url_file: AbsolutePath | None = None


class StoreSection(_Section):
    """[s3.stores.NAME]: an object store. Keys come from an ini file in the form of the AWS tools."""

    endpoint_url: str | None = None
    region: str = "us-east-1"
    credentials_file: AbsolutePath
    profile: str = "default"
    addressing: Literal["path", "virtual"] = "path"
    ca_file: AbsolutePath | None = None
    insecure: bool = False
    part_size: Bytes = Field(default=64 * 1024**2, ge=5 * 1024**2, le=5 * 1024**3)
    public_endpoint_url: str | None = None
    buckets: tuple[BucketPattern, ...] = ()
    check_prefix: Annotated[str, AfterValidator(_area)] | None = None

    def public(self) -> Self:
        """Return the same store as users reach it."""
        return self.model_copy(
            update={"endpoint_url": self.public_endpoint_url or self.endpoint_url}
        )

    def host(self) -> str:
        """Return the host that all of its URLs have, or lie below, with the port unless that is 443."""
        if self.endpoint_url is None:  # bucket and region stand before it
            return "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return urlsplit(self.endpoint_url).netloc.lower().removesuffix(":443")


class S3Section(StoreSection):
    """[s3]: the object store that has all buckets, but for those of `stores`; and what holds for all of them."""

    buckets: tuple[BucketPattern, ...] = ("*",)
    grant_seconds: int = Field(default=3600, ge=60, le=604800)
    log_bucket_prefix: Annotated[str, AfterValidator(_log_area)] | None = None
    max_upload: Bytes = Field(default=5 * 1024**4, ge=1)
    stores: dict[str, StoreSection] = Field(default={})

    def each(self) -> dict[str, StoreSection]:
        """Return all stores by name; this one's own is ""."""
        return {"": self, **self.stores}

    def by_bucket(self, bucket: str) -> str | None:
        """Return the name of the store whose `buckets` have a bucket: as it is, else by the longest pattern; None for none."""
        fitting = [
            (not pattern.endswith("*"), len(pattern), name)
            for name, store in self.each().items()
            for pattern in store.buckets
            if pattern == bucket or (pattern.endswith("*") and bucket.startswith(pattern[:-1]))
        ]
        return max(fitting)[2] if fitting else None

    def public(self) -> Self:
        """Return the same stores as users reach them."""
        stores = {name: store.public() for name, store in self.stores.items()}
        return super().public().model_copy(update={"stores": stores})

    @model_validator(mode="after")
    def _apart(self) -> S3Section:
        seen: dict[str, str] = {}
        for name, store in self.each().items():
            if name and not STORE_NAME.fullmatch(name):
                raise ValueError(
                    f"stores.{name}: a store's name is lower-case letters, digits and -, at most 63"
                )
            for pattern in store.buckets:
                if pattern in seen:
                    raise ValueError(
                        f"buckets: {pattern!r} is of {store_key(seen[pattern])} and of {store_key(name)}; a bucket lies in one"
                    )
                seen[pattern] = name
        self._one_trust()
        self._logs_somewhere()
        return self

    def _logs_somewhere(self) -> None:
        if self.log_bucket_prefix is None:
            return
        named, _, bucket = self.log_bucket_prefix.partition("/")[0].rpartition(":")
        if named and named not in self.stores:
            raise ValueError(f"log_bucket_prefix names the store {named!r}, and there is none")
        found = self.by_bucket(bucket)
        if named and found == named:
            raise ValueError(
                f"log_bucket_prefix needs no {named}: before the bucket, which lies there"
            )
        if not named and found is None:
            raise ValueError(f"log_bucket_prefix: no store has {bucket!r} among its buckets")

    def _one_trust(self) -> None:
        """See that stores at one host trust the same: nodes know a store by the host of its URLs."""
        trusted: dict[str, StoreSection] = {}
        for name, store in self.each().items():
            other = trusted.setdefault(store.host(), store)
            if (other.ca_file, other.insecure) != (store.ca_file, store.insecure):
                raise ValueError(
                    f"{store_key(name)} has another ca_file or insecure than a store at the same host; make them the same"
                )


def store_key(name: str) -> str:
    """Return the section of a store: that of "" is [s3] itself."""
    return f"s3.stores.{name}" if name else "s3"


class ImagesSection(_Section):
    """[images]: looking images up in registries."""

    crane: str = "crane"
    insecure_registries: tuple[str, ...] = ()
    docker_config_dir: AbsolutePath | None = None
    timeout_seconds: int = Field(default=60, ge=1, le=3600)


class RolesSection(_Section):
    """[roles]: who is an admin, by user name or by group."""

    admin_users: tuple[str, ...] = ()
    admin_groups: tuple[str, ...] = ()


class PathRule(_Section):
    """[[path_rules]]: who may use which bucket or bucket/prefix; {user} and {group} stand for the caller's."""

    path: str
    perm: Literal["read", "write"]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class WebhooksSection(_Section):
    """[webhooks]: where users may have events sent, and how long one may fail."""

    allow_hosts: tuple[str, ...] = ()
    allow_http: bool = False
    ca_file: AbsolutePath | None = None
    per_user: int = Field(default=10, ge=0, le=1000)
    timeout_seconds: float = Field(default=10, ge=1, le=60)
    give_up_hours: float = Field(default=72, ge=0.01)


class Receiver(_Section):
    """[[receivers]]: a webhook of the gateway's own, which is told of everyone's jobs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    url: str
    secret_file: AbsolutePath
    states: tuple[str, ...] = ()
    containers: bool = False


class KafkaSection(_Section):
    """[kafka]: a topic that is told of everyone's jobs; off without bootstrap servers."""

    bootstrap_servers: tuple[str, ...] = ()
    topic: str = Field(default="cts-jobs", pattern=r"^[A-Za-z0-9._-]{1,249}$")
    containers: bool = False
    tls: bool = False
    ca_file: AbsolutePath | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password_file: AbsolutePath | None = None

    @model_validator(mode="after")
    def _both(self) -> KafkaSection:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        return self


class SshSection(_Section):
    """[sites.NAME.ssh]: how a site with `backend = "ssh"` is reached."""

    host: HostName
    port: int = Field(default=22, ge=1, le=65535)
    user: UserName
    key_file: AbsolutePath | None = None
    certificate_file: AbsolutePath | None = None
    agent: bool = False
    known_hosts: AbsolutePath = Path("/etc/ssh/ssh_known_hosts")
    check_host_key: bool = True
    jump: Annotated[str, AfterValidator(_jump)] | None = None
    connect_seconds: float = Field(default=30, ge=1, le=600)
    alive_seconds: float = Field(default=15, ge=0.2, le=600)

    @model_validator(mode="after")
    def _some_key(self) -> SshSection:
        if self.key_file is None and not self.agent:
            raise ValueError("needs a key_file, or agent = true: there are no passwords")
        if self.certificate_file is not None and self.key_file is None:
            raise ValueError("certificate_file needs the key_file that it is for")
        return self


class RestSection(_Section):
    """[sites.NAME.rest]: how the slurmrestd of a site with `backend = "rest"` is reached."""

    url: Annotated[str, AfterValidator(_rest_url)]
    token_file: AbsolutePath | None = None
    token_command: tuple[str, ...] = ()
    ca_file: AbsolutePath | None = None

    @model_validator(mode="after")
    def _one_token(self) -> RestSection:
        if self.token_file is not None and self.token_command:
            raise ValueError("token_file and token_command: one of them is enough")
        if self.url.startswith("http") and self.token_file is None and not self.token_command:
            raise ValueError("url over TCP needs token_file or token_command")
        return self


class SiteSection(_Section):
    """[sites.NAME]: one Slurm cluster."""

    backend: Literal["auto", "cli", "ssh", "rest", "pyslurm"] = "auto"
    work_dir: ScriptPath
    helper: tuple[str, ...] = ()
    ssh: SshSection | None = None
    rest: RestSection | None = None
    slurm_bin: AbsolutePath | None = None
    slurm_user: UserName | None = None
    template: str = "generic"
    modules: tuple[ModuleName, ...] = ()
    partition: SlurmName | None = None
    account: SlurmName | None = None
    qos: SlurmName | None = None
    partitions: dict[SlurmName, Minutes] = Field(default={})
    qos_offered: dict[SlurmName, Minutes] = Field(default={})
    accounts: dict[SlurmName, tuple[Principal, ...]] = Field(default={})
    reservations: dict[SlurmName, tuple[Principal, ...]] = Field(default={})
    features: tuple[FeatureName, ...] = ()
    licenses: dict[LicenseName, Annotated[int, Field(ge=1)]] = Field(default={})
    licenses_default: tuple[LicenseName, ...] = ()
    gpus_per_node: int = Field(default=0, ge=0, le=64)
    nodes_per_container: int = Field(default=1, ge=1, le=10_000)
    platform: str = Field(default="linux/amd64", pattern=r"^linux/[a-z0-9]{1,20}(/v[0-9]{1,2})?$")
    python: ScriptPath = Path("/usr/bin/python3")
    apptainer: ScriptPath = Path("/usr/bin/apptainer")
    apptainer_flags: tuple[str, ...] = ()
    scratch: ScriptPath | None = None
    active: bool = True
    inactive_reason: str | None = None
    notes: tuple[str, ...] = ()
    nodes: int = Field(default=1, ge=1)
    cpus_per_node: int = Field(default=1, ge=1)
    memory_per_node: Bytes = Field(default=10**9, ge=10**6)
    containers_per_task: int = Field(default=1, ge=1, le=1024)
    max_array_size: int | None = Field(default=None, ge=1)
    max_runtime_min: int = Field(default=2880, ge=1)
    max_cpu_hours: float = Field(default=100, gt=0)
    overhead_memory: Bytes = Field(default=256 * 1024**2, ge=64 * 1024**2)
    staging_minutes: int = Field(default=10, ge=0)
    signal_seconds: int = Field(default=60, ge=10, le=3600)
    grace_seconds: int = Field(default=10, ge=0, le=3600)
    max_requeues: int = Field(default=3, ge=0, le=100)
    max_log_size: Bytes = Field(default=100 * 10**6, ge=1000)
    poll_seconds: float = Field(default=5, ge=0.2, le=3600)
    grants_url: Annotated[str, AfterValidator(_node_url)] | None = None
    grants_ca_file: AbsolutePath | None = None
    mailbox_seconds: float = Field(default=0.1, ge=0.02, le=60)
    command_timeout_seconds: float = Field(default=60, ge=1, le=3600)
    keep_failed_days: float = Field(default=14, ge=0)
    keep_logs_days: float = Field(default=90, ge=0)
    refdata_max_size: Bytes = Field(default=50 * 10**9, ge=1000)
    refdata_max_files: int = Field(default=1_000_000, ge=1)
    refdata_minutes: int = Field(default=240, ge=1)
    refdata_memory: Bytes = Field(default=10**9, ge=64 * 10**6)
    image_cache_max: Bytes | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_road(self) -> SiteSection:
        if self.backend == "ssh" and self.ssh is None:
            raise ValueError('backend = "ssh" needs [sites.NAME.ssh], which says where to')
        if self.backend == "ssh" and self.helper:
            raise ValueError(
                "helper is not for a site that is reached by ssh: ssh.user is the user of the jobs"
            )
        if self.grants_ca_file is not None and self.grants_url is None:
            raise ValueError("grants_ca_file needs the grants_url whose certificate it checks")
        if self.backend == "rest" and (self.rest is None or self.slurm_user is None):
            raise ValueError('backend = "rest" needs [sites.NAME.rest] and slurm_user')
        return self


class Config(_Section):
    """The whole file."""

    gateway: GatewaySection = GatewaySection()
    api: ApiSection = ApiSection()
    database: DatabaseSection = DatabaseSection()
    s3: S3Section
    images: ImagesSection = ImagesSection()
    roles: RolesSection = RolesSection()
    path_rules: tuple[PathRule, ...] = ()
    webhooks: WebhooksSection = WebhooksSection()
    receivers: tuple[Receiver, ...] = ()
    kafka: KafkaSection = KafkaSection()
    sites: Annotated[dict[str, SiteSection], Field(min_length=1)]

    def database_url(self) -> str:
        """Return the database URL, from the file where one is named.

        Raises
        ------
        ConfigError
            When the file cannot be read.
        """
        if self.database.url_file is None:
            return self.database.url
        try:
            return self.database.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
            raise ConfigError(
                f"database.url_file: cannot read {self.database.url_file}: {why}"
            ) from exc


def load_config(path: Path) -> Config:
    """Read and check the configuration file.

    Raises
    ------
    ConfigError
        One line a mistake: the key, the rule, what would be right.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"cannot read the configuration {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], source: str = "configuration") -> Config:
    """Check a configuration that is already a dict; `source` is named in errors.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    try:
        # As JSON, so that strict types go with lists and paths as TOML writes them.
        config = Config.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as exc:
        lines = [_explain(raw, error) for error in exc.errors()]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from exc
    names = [receiver.name for receiver in config.receivers]
    if len(set(names)) < len(names):
        raise ConfigError(f"{source}: receivers: each needs a name of its own")
    for name in config.sites:
        if name == ANY_SITE:
            raise ConfigError(
                f"{source}: sites.{name}: jobs write {name!r} for whichever site starts them first; use another name"
            )
        if not SITE_NAME.fullmatch(name):
            raise ConfigError(
                f"{source}: sites.{name}: a site's name is lower-case letters, digits, - and _, at most 63"
            )
    return config


def warnings_of(path: Path, config: Config) -> list[str]:
    """Tell what works but should not stay so: secrets that others can read, a key without effect. A sentence each."""
    stores = config.s3.each()
    files = {
        f"{store_key(name)}.credentials_file": store.credentials_file
        for name, store in stores.items()
    }
    if config.database.url_file is not None:
        files["database.url_file"] = config.database.url_file
    elif _PASSWORD.match(config.database.url):
        files["database.url holds a password, and"] = path
    files |= {
        f"receivers: the secret_file of {each.name}": each.secret_file for each in config.receivers
    }
    if config.kafka.password_file is not None:
        files["kafka.password_file"] = config.kafka.password_file
    for name, site in config.sites.items():
        if site.rest is not None and site.rest.token_file is not None:
            files[f"sites.{name}.rest.token_file"] = site.rest.token_file
    found = [
        f"sites.{name}.rest.url {site.rest.url}: tokens go there in clear; use https:// or a Unix socket"
        for name, site in config.sites.items()
        if site.rest is not None and _CLEAR.match(site.rest.url)
    ]
    found += [
        f"{store_key(name)}.insecure is true: whoever is in between can read and change the data of "
        f"{store.endpoint_url or 'AWS'}; name its CA in {store_key(name)}.ca_file instead"
        for name, store in stores.items()
        if store.insecure
    ]
    if {"url", "url_file"} <= config.database.model_fields_set:
        found.append(f"database.url in {path} is not used: database.url_file goes before it")
    if config.api.tls_key is not None:
        files["api.tls_key"] = config.api.tls_key
    if config.api.listen is None and {"tls_certificate", "tls_key"} & config.api.model_fields_set:
        found.append(
            f"api.tls_certificate and api.tls_key in {path} are not used: there is no api.listen"
        )
    found += [
        f"sites.{name}.grants_url {site.grants_url}: nothing of this daemon answers there, there is no api.listen"
        for name, site in config.sites.items()
        if site.grants_url is not None and config.api.listen is None
    ]
    found += _of_ssh(path, config, files)
    for key, file in files.items():
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            continue  # who needs it says so
        if mode & 0o077:
            found.append(f"{key} {file} can be read by others (mode {mode:04o}): chmod 600 {file}")
    return found


def _of_ssh(path: Path, config: Config, files: dict[str, Path]) -> list[str]:
    """Tell the same of the sites that are reached by SSH; their keys are added to the files that others must not read."""
    found = []
    for name, section in config.sites.items():
        if section.ssh is None:
            continue
        key = f"sites.{name}.ssh"
        if section.backend != "ssh":
            found.append(f"{key} in {path} is not used: backend is {section.backend}")
            continue
        if section.ssh.key_file is not None:
            files[f"{key}.key_file"] = section.ssh.key_file
        if not section.ssh.check_host_key:
            found.append(
                f"{key}.check_host_key in {path} is false: anybody in between can pass for the site"
            )
    return found


def _explain(raw: dict[str, Any], error: Any) -> str:
    loc = list(error["loc"])
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"{key}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{key}: this key is required; see deploy/gateway.toml.example"
    if key == "sites" and error["type"] == "too_short":
        return "sites: name at least one site, as [sites.NAME]"
    if error["type"] in ("model_type", "dict_type"):
        return f"{key}: this is a section, [{key}], and no value"
    given = error["input"]
    shown = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return f"{key}: {error['msg'].removeprefix('Value error, ')}{shown[:100]}"


def _known_keys(loc: list[Any]) -> list[str]:
    model: type[BaseModel] = Config
    sections: dict[str, type[BaseModel]] = {
        "gateway": GatewaySection,
        "api": ApiSection,
        "database": DatabaseSection,
        "s3": S3Section,
        "images": ImagesSection,
        "roles": RolesSection,
        "path_rules": PathRule,
        "webhooks": WebhooksSection,
        "receivers": Receiver,
        "kafka": KafkaSection,
        "sites": SiteSection,
    }
    if loc[:1] == ["sites"] and loc[2:] == ["ssh"]:
        model = SshSection
    elif loc[:2] == ["s3", "stores"] and len(loc) == 3:
        model = StoreSection
    elif loc:
        model = sections.get(str(loc[0]), Config)
    return list(model.model_fields)
