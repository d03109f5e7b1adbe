"""The gateway in the site: its users, its configuration, its installation from the checkout, and sshd."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from devclusterlib import certificates, registry, slurm
from devclusterlib.parts import WITH_US, Part, must, quiet
from devclusterlib.settings import COMMIT_FILE, ClusterError, Settings
from devclusterlib.storage import S3_KEYS

SOURCE = Path("/src")
PREFIX = Path("/opt/cts")
CONFIG = Path("/etc/cts/gateway.toml")
SSH = Path("/etc/cts/ssh")  # the key that the daemon logs in with, and the hosts that it knows
SOCKET = Path("/run/cts/cts.sock")
_PEOPLE = {"alice": 2001, "bob": 2002, "ada": 2003}
_SERVICES = ("ctsd", "ctsjob")


def make_users(settings: Settings) -> None:
    """Create the people, the daemon's user, the jobs' user, and what belongs to each."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    must("groupadd", "-f", "ctsadmin")
    for name in (*_PEOPLE, *_SERVICES):
        if name not in known:
            number = _PEOPLE.get(name)
            kind = ["--system", "--user-group"] if number is None else ["-u", str(number)]
            more = ["-G", "ctsadmin"] if name == "ada" else []
            # "*": no password, but not locked, so that sshd lets keys in.
            home = ["-m", "-d", f"/home/{name}", "-s", "/bin/bash", "-p", "*"]
            must("useradd", *kind, *more, *home, name)
            Path(f"/home/{name}").chmod(0o700)
    Path("/etc/profile.d/devcluster.sh").write_text(f"PATH={settings.search_path}\n")
    rule = Path("/etc/sudoers.d/cts")
    rule.write_text(
        "Defaults:ctsd !requiretty, !pam_session\nctsd ALL=(ctsjob) NOPASSWD: /opt/cts/bin/cts-helper\n"
    )
    rule.chmod(0o440)
    for directory, user, mode in (
        ("/etc/cts", "ctsd", 0o700),
        ("/etc/cts/docker", "ctsd", 0o700),
        ("/var/lib/cts", "ctsd", 0o700),
        ("/run/cts", "ctsd", 0o755),
        ("/scratch/cts", "ctsjob", 0o700),
        ("/scratch/cts-spare", "ctsjob", 0o700),
        ("/scratch/cts-packed", "ctsjob", 0o700),
        ("/scratch/cts-remote", "ctsjob", 0o700),
        (str(SSH), "ctsd", 0o700),
        ("/home/ctsjob/.ssh", "ctsjob", 0o700),
        ("/scratch/cts-rest", "ctsjob", 0o700),
    ):
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, user, user)
        path.chmod(mode)
    keys = _keys("cts") + _keys("archive", "archive")
    _secret(Path("/etc/cts/s3-credentials"), "ctsd", keys)
    _secret(Path("/etc/cts/docker/config.json"), "ctsd", registry.docker_config(settings))
    _let_in("ctsd", "ctsjob", settings.port("sshd"))
    aws = Path("/home/alice/.aws")
    aws.mkdir(exist_ok=True)
    shutil.chown(aws, "alice", "alice")
    _secret(aws / "credentials", "alice", _keys("alice"))
    _secret(
        aws / "config",
        "alice",
        f"[default]\nregion = us-east-1\nendpoint_url = {settings.s3_endpoint}\n",
    )
    _secret(CONFIG, "ctsd", _configuration(settings))


def _let_in(who: str, user: str, port: int) -> None:
    """Let somebody log in as a user, by a key of its own, and know the host at that port."""
    must("ssh-keygen", "-A")
    host = Path("/etc/ssh/ssh_host_ed25519_key.pub").read_text()
    _secret(SSH / "known_hosts", who, f"[127.0.0.1]:{port} {host}")
    key = SSH / "id_ed25519"
    if not key.exists():
        must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(key))
        shutil.chown(key, who, who)
    _secret(Path(f"/home/{user}/.ssh/authorized_keys"), user, key.with_suffix(".pub").read_text())


def _keys(user: str, profile: str = "default") -> str:
    key, secret = S3_KEYS[user]
    return f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


def _secret(path: Path, user: str, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(text)
    shutil.chown(path, user, user)


def _configuration(settings: Settings) -> str:
    slurm_bin = f'slurm_bin = "{settings.slurm_prefix}/bin"\n' if settings.slurm_prefix else ""
    scontrol = f"{settings.slurm_prefix}/bin/scontrol" if settings.slurm_prefix else "scontrol"
    helper = 'helper = ["sudo", "-n", "-u", "ctsjob", "--", "/opt/cts/bin/cts-helper"]\n'
    site = f"""\
slurm_user = "ctsjob"
{slurm_bin}account = "dev"
partition = "regular"
nodes = 4
cpus_per_node = 16
memory_per_node = "16 GB"
"""
    common = helper + site
    return f"""\
[gateway]
instance = "{settings.name}"
notes = "the development cluster"

[api]
listen = "127.0.0.1:{settings.port("gateway")}"
tls_certificate = "{certificates.CERTIFICATE}"
tls_key = "{certificates.KEY}"

[s3]
endpoint_url = "{settings.s3_endpoint}"
credentials_file = "/etc/cts/s3-credentials"
log_bucket_prefix = "results/cts-logs"

[s3.stores.archive]
endpoint_url = "{settings.store_url}"
credentials_file = "/etc/cts/s3-credentials"
profile = "archive"
addressing = "virtual"
ca_file = "{certificates.STORE_CA}"
part_size = "5 MiB"
buckets = ["archive"]
check_prefix = "archive/cts-check"

[images]
insecure_registries = ["{settings.registry}", "{settings.private_registry}"]
docker_config_dir = "/etc/cts/docker"

[webhooks]
allow_hosts = ["127.0.0.1:*"]
allow_http = true

[roles]
admin_groups = ["ctsadmin"]

[sites.dev]
work_dir = "/scratch/cts"
{common}partitions = {{ debug = 20 }}
qos_offered = {{ regular = 0, debug = 20 }}
accounts = {{ lab = ["alice", "%ctsadmin"] }}
reservations = {{ training = ["alice"] }}
features = ["cpu", "highmem"]
licenses = {{ matlab = 2 }}
gpus_per_node = 2
nodes_per_container = 4

# Switched on by tests alone: who has one site need not name it.
[sites.packed]
work_dir = "/scratch/cts-packed"
active = false
inactive_reason = "it is for tests alone"
notes = ["several containers of a job in each array task, whose nodes ask the daemon over TLS"]
containers_per_task = 3
grants_url = "{settings.gateway_url}"
grants_ca_file = "{certificates.CA}"
max_array_size = 3
{common}

# Switched on by tests alone; it has the other partition, and offers what this Slurm has not.
[sites.spare]
work_dir = "/scratch/cts-spare"
{common.replace('"regular"', '"debug"')}refdata_minutes = 15
active = false
inactive_reason = "it is for tests alone"
partitions = {{ gone = 0 }}
qos_offered = {{ gone = 0 }}
accounts = {{ gone = [] }}
reservations = {{ gone = [] }}
features = ["gone"]
licenses = {{ gone = 9 }}
gpus_per_node = 9

# Switched on by tests alone: the same Slurm by slurmrestd.
[sites.rest]
backend = "rest"
work_dir = "/scratch/cts-rest"
active = false
inactive_reason = "it is for tests alone"
{common}
[sites.rest.rest]
url = "unix:{slurm.REST_SOCKET}"
token_command = ["{scontrol}", "token", "lifespan=600"]

# Switched on by tests alone: the same Slurm by SSH.
[sites.remote]
backend = "ssh"
work_dir = "/scratch/cts-remote"
active = false
inactive_reason = "it is for tests alone"
{site}
[sites.remote.ssh]
host = "127.0.0.1"
port = {settings.port("sshd")}
user = "ctsjob"
key_file = "{SSH}/id_ed25519"
known_hosts = "{SSH}/known_hosts"
"""


def install() -> str | None:
    """Install the checkout into /opt/cts when it changed; return what was done, None when nothing was.

    Raises
    ------
    ClusterError
        When there is no uv or an installation fails.
    """
    lock, code = (
        _hash("requirements.lock"),
        _hash("gateway", "slurm_templates", "pyproject.toml", "deploy/build_hook.py"),
    )
    done = []
    if not _stamped("lock", lock):
        uv("venv", "--clear", "--python", "/usr/bin/python3", str(PREFIX))
        uv(
            "pip",
            "install",
            "--python",
            str(PREFIX),
            "--require-hashes",
            "-r",
            str(SOURCE / "requirements.lock"),
        )
        _stamp("lock", lock)
        done.append("dependencies")
    if not _stamped("code", code):
        copy = Path("/var/cache/cts-source")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        for name in ("gateway", "slurm_templates"):
            shutil.copytree(
                SOURCE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        (copy / "deploy").mkdir()
        for name in (
            *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"),
            "deploy/build_hook.py",
        ):
            shutil.copy(SOURCE / name, copy / name)
        uv(
            "pip",
            "install",
            "--python",
            str(PREFIX),
            "--no-deps",
            "--reinstall-package",
            "cts-gateway",
            str(copy),
        )
        must(str(PREFIX / "bin/python"), "-m", "compileall", "-q", str(PREFIX / "lib"))
        _stamp("code", code)
        done.append("the gateway")
    return " and ".join(done) or None


def uv(*arguments: str) -> None:
    """Run uv in the site, with the host's certificates and the shared cache.

    Raises
    ------
    ClusterError
        When it is not there or fails.
    """
    program = SOURCE / ".venv/bin/uv"
    if not program.exists():
        raise ClusterError("uv is not in the checkout's .venv: run 'make venv' first")
    environment = {
        **os.environ,
        "CTS_COMMIT": Path(COMMIT_FILE).read_text(),
        "UV_CACHE_DIR": "/var/cache/uv",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    if Path("/etc/ssl/host-ca.crt").exists():
        environment["SSL_CERT_FILE"] = "/etc/ssl/host-ca.crt"
    done = subprocess.run(
        [*WITH_US, str(program), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ClusterError(f"uv {arguments[0]}: {' / '.join(said[-3:]) if said else 'no message'}")


def _hash(*names: str) -> str:
    digest = hashlib.sha256()
    for name in names:
        top = SOURCE / name
        files = (
            sorted(p for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
            if top.is_dir()
            else [top]
        )
        for file in files:
            digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _stamped(what: str, value: str) -> bool:
    path = PREFIX / f".{what}"
    return path.exists() and path.read_text() == value


def _stamp(what: str, value: str) -> None:
    (PREFIX / f".{what}").write_text(value)


def sshd(settings: Settings) -> Part:
    """Return the SSH server, on loopback."""
    port = settings.port("sshd")

    def prepare() -> None:
        Path("/run/sshd").mkdir(exist_ok=True)

    # Many connections from one address that do not log in are nothing bad here: that is how readiness is seen.
    options = (
        "ListenAddress=127.0.0.1",
        "UsePAM=no",
        "PerSourcePenalties=no",
        f"SetEnv=PATH={settings.search_path}",
    )
    return Part(
        "sshd",
        ["/usr/sbin/sshd", "-D", "-e", "-p", str(port), *(f"-o{option}" for option in options)],
        lambda: _greets(port),
        prepare,
    )


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def part(settings: Settings) -> Part:
    """Return the gateway's daemon."""

    def prepare() -> None:
        must(
            "setpriv",
            "--reuid=ctsd",
            "--regid=ctsd",
            "--init-groups",
            "--",
            str(PREFIX / "bin/ctsd"),
            "migrate",
            "--config",
            str(CONFIG),
        )

    return Part(
        "gateway",
        [
            "env",
            "-i",
            f"PATH={settings.search_path}",
            "HOME=/home/ctsd",
            "USER=ctsd",
            "LANG=C.UTF-8",
            str(PREFIX / "bin/ctsd"),
            "run",
            "--config",
            str(CONFIG),
        ],
        lambda: quiet(
            "curl", "-sf", "-o", "/dev/null", "--unix-socket", str(SOCKET), "http://cts/"
        ),
        prepare,
        user="ctsd",
    )
