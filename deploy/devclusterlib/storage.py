"""Ceph's S3: a monitor, one OSD whose store is in memory or in a file, and RGW with its users.

An OSD in memory that is stopped in order writes its store down; what is lost when it is killed, or with the site's
last process, `up` makes anew: empty, with the sample data. What is in a file stays.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devclusterlib import certificates
from devclusterlib.parts import RUN, Part, must, quiet
from devclusterlib.settings import STORE_HOST, ClusterError, Settings

CEPH = Path("/var/lib/devceph")
CONF = ("--conf", str(CEPH / "ceph.conf"))
S3_KEYS = {
    "cts": ("CTSACCESSKEY", "cts-secret-of-the-dev-cluster"),
    "alice": ("ALICEACCESSKEY", "alice-secret-of-the-dev-cluster"),
    "archive": ("ARCHIVEACCESSKEY", "archive-secret-of-the-dev-cluster"),
    "other": ("OTHERACCESSKEY", "other-secret-of-the-dev-cluster"),
}
STORE_BUCKETS = (
    "archive",
    "depot",
)  # the user archive's, who reaches them by TLS under their own names
KMS_KEY = "testkey-1"
_OSD_STARTED = CEPH / "osd.started"
_OSD_SAVED = CEPH / "osd/collections"
_OSD_READY = CEPH / "osd/ready"  # the last file that its mkfs writes
_AS_ROOT = ("--setuser", "root", "--setgroup", "root")
_POOLS = (
    ".rgw.root",
    "default.rgw.log",
    "default.rgw.control",
    "default.rgw.meta",
    "default.rgw.buckets.index",
    "default.rgw.buckets.data",
    "default.rgw.buckets.non-ec",
)


def parts(settings: Settings) -> list[Part]:
    """Return the parts in the order in which they start."""
    osd = f"ceph {' '.join(CONF)} --connect-timeout 5 osd stat | grep -q '1 up'"
    return [
        Part(
            "ceph-mon",
            ["ceph-mon", *CONF, "-f", "-i", "a", *_AS_ROOT],
            lambda: quiet("ceph", *CONF, "--connect-timeout", "5", "mon", "stat"),
            lambda: _prepare_mon(settings),
        ),
        Part(
            "ceph-osd",
            ["ceph-osd", *CONF, "-f", "-i", "0", *_AS_ROOT],
            lambda: quiet("sh", "-c", osd),
            _prepare_osd,
            after=_OSD_STARTED.touch,
            tries=20,  # a monitor that has just been made may refuse commands and its first object store
        ),
        Part(
            "rgw",
            ["radosgw", *CONF, "-n", "client.rgw", "-f"],
            lambda: quiet("curl", "-s", "-o", "/dev/null", settings.s3_endpoint),
            _prepare_rgw,
            seconds=300,
            after=_s3_users,
        ),
    ]


def forget_lost(settings: Settings) -> None:
    """Drop what is left of a store whose memory has gone, with the site's last run or a killed OSD, or that was made for other settings."""
    marker = RUN / "ceph"
    mon, osd, rgw = parts(settings)
    kept = settings.osd_store == "file" or (
        marker.exists() and (osd.pid() is not None or not _memory_is_lost())
    )
    if kept and _is_configured(settings):
        return
    for part in (rgw, osd, mon):
        part.stop(signal.SIGKILL)  # there is nothing to save, and RGW would wait for its OSD
    shutil.rmtree(CEPH, ignore_errors=True)
    marker.touch()


def _memory_is_lost() -> bool:
    """Tell whether an OSD has run and not written its memory down since; one with a file writes no `_OSD_SAVED`."""
    try:
        return _OSD_STARTED.stat().st_mtime_ns > _OSD_SAVED.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def _is_configured(settings: Settings) -> bool:
    """Tell whether Ceph has the configuration that it would be given now."""
    try:
        text = (CEPH / "ceph.conf").read_text()
    except FileNotFoundError:
        return False
    cluster = re.search(r"^fsid = (\S+)$", text, re.MULTILINE)
    return cluster is not None and text == _configuration(settings, uuid.UUID(cluster[1]))


def _configuration(settings: Settings, cluster: uuid.UUID) -> str:
    kms = base64.b64encode(b"the dev cluster's key of 32 byte").decode()
    return f"""\
[global]
fsid = {cluster}
mon_host = v1:127.0.0.1:{settings.port("mon")}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {settings.port("osd")}
ms_bind_port_max = {settings.port("osd") + 40}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
run_dir = {CEPH}/run
admin_socket = {CEPH}/run/$name.asok
log_file =
mon_data = {CEPH}/mon
osd_data = {CEPH}/osd
{_objectstore(settings)}
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 5000
osd_max_pg_per_osd_hard_ratio = 10
mon_data_avail_warn = 1
mon_data_avail_crit = 1
[mon]
paxos_propose_interval = 0.05
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{settings.port("rgw")} ssl_endpoint=127.0.0.1:{settings.port("s3-tls")} ssl_certificate={certificates.STORE_CERTIFICATE} ssl_private_key={certificates.STORE_KEY}
rgw_dns_name = {STORE_HOST}
rgw_data = {CEPH}/rgw
# Encrypted objects without TLS and without a key server, so that tests can make them.
rgw_crypt_require_ssl = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = {KMS_KEY}={kms}
"""


def _objectstore(settings: Settings) -> str:
    if settings.osd_store == "memory":
        return f"""\
osd_objectstore = memstore
memstore_device_bytes = {settings.osd_bytes}
osd_fast_shutdown = false"""
    # The file has holes: it takes as much of the disk as was ever in it. The large objects of tests compress well; Debian's plugin
    # for lz4 cannot be loaded without a library that it has not.
    return f"""\
osd_objectstore = bluestore
bluestore_block_size = {settings.osd_bytes}
bluestore_compression_mode = force
bluestore_compression_algorithm = snappy
bluestore_compression_min_blob_size = 65536
bluestore_cache_autotune = false
bluestore_cache_size = {256 << 20}"""


def _prepare_mon(settings: Settings) -> None:
    if _OSD_READY.exists():
        return
    shutil.rmtree(CEPH, ignore_errors=True)
    for name in ("mon", "osd", "rgw", "run"):
        (CEPH / name).mkdir(parents=True)
    cluster = uuid.uuid4()
    (CEPH / "ceph.conf").write_text(_configuration(settings, cluster))
    address = f"[v1:127.0.0.1:{settings.port('mon')}]"
    monmap = str(CEPH / "monmap")
    must("monmaptool", "--create", "--fsid", str(cluster), "--addv", "a", address, monmap)
    must("ceph-mon", *CONF, "--mkfs", "-i", "a", "--monmap", monmap, *_AS_ROOT)


def _prepare_osd() -> None:
    if _memory_is_lost():
        raise ClusterError("the OSD's objects went with its memory: 'up' makes S3 anew")
    if not _OSD_READY.exists():
        _make_osd()


def _make_osd() -> None:
    name = CEPH / "osd.uuid"
    if not name.exists():
        name.write_text(str(uuid.uuid4()))
    _ceph("osd", "new", name.read_text(), "0")
    shutil.rmtree(CEPH / "osd")
    (CEPH / "osd").mkdir()
    must("ceph-osd", *CONF, "-i", "0", "--mkfs", "--osd-uuid", name.read_text(), *_AS_ROOT)


def _prepare_rgw() -> None:
    _make_pools()
    names = [STORE_HOST, *(f"{bucket}.{STORE_HOST}" for bucket in STORE_BUCKETS)]
    line, hosts = f"127.0.0.1\t{' '.join(names)}\n", Path("/etc/hosts")
    if line not in hosts.read_text():
        with hosts.open("a") as file:
            file.write(line)


def _make_pools() -> None:
    """Make RGW's pools in one go; by itself it makes one after the other, waiting for each."""
    made = CEPH / "pools.made"
    if made.exists():
        return
    commands = [f"osd pool create {pool} 4 4" for pool in _POOLS]
    commands += [f"osd pool application enable {pool} rgw" for pool in _POOLS]
    _ceph(text="\n".join(commands) + "\n")
    made.touch()


def _ceph(*arguments: str, text: str | None = None, seconds: float = 60) -> None:
    """Give the monitor commands that may be repeated; one that has just been made may refuse them at first (EPERM)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            must("ceph", *CONF, *arguments, text=text)
        except ClusterError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _s3_users() -> None:
    made = CEPH / "users.made"
    if made.exists():
        return
    known = json.loads(must("radosgw-admin", *CONF, "user", "list"))
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(_s3_user, [user for user in ("cts", "other", "archive") if user not in known])
        )
    if S3_KEYS["alice"][0] not in must("radosgw-admin", *CONF, "user", "info", "--uid=cts"):
        _radosgw_admin("alice", "key", "create", "--uid=cts")
    made.touch()


def _s3_user(user: str) -> None:
    _radosgw_admin(user, "user", "create", f"--uid={user}", f"--display-name={user}")


def _radosgw_admin(keys_of: str, *arguments: str) -> None:
    key, secret = S3_KEYS[keys_of]
    must("radosgw-admin", *CONF, *arguments, f"--access-key={key}", f"--secret-key={secret}")
