"""The OCI registry with its images, and Ceph RGW with its buckets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import uuid
from pathlib import Path

from devclusterlib.parts import Part, must, quiet
from devclusterlib.settings import ClusterError, Settings

CEPH = Path("/var/lib/devceph")
S3_KEYS = {
    "cts": ("CTSACCESSKEY", "cts-secret-of-the-dev-cluster"),
    "alice": ("ALICEACCESSKEY", "alice-secret-of-the-dev-cluster"),
    "other": ("OTHERACCESSKEY", "other-secret-of-the-dev-cluster"),
}
IMAGES = Path(__file__).parent / "images"


def parts(settings: Settings) -> list[Part]:
    """Return the parts in the order in which they start."""
    conf = ["--conf", str(CEPH / "ceph.conf")]
    return [
        Part(
            "registry",
            ["docker-registry", "serve", "/etc/devregistry.yml"],
            lambda: quiet("curl", "-sf", f"http://{settings.registry}/v2/"),
            lambda: _registry_config(settings),
        ),
        Part(
            "ceph-mon",
            ["ceph-mon", *conf, "-f", "-i", "a", "--setuser", "root", "--setgroup", "root"],
            lambda: quiet("ceph", *conf, "--connect-timeout", "5", "mon", "stat"),
            lambda: _prepare_mon(settings),
        ),
        Part(
            "ceph-osd",
            ["ceph-osd", *conf, "-f", "-i", "0", "--setuser", "root", "--setgroup", "root"],
            lambda: quiet(
                "sh", "-c", f"ceph {' '.join(conf)} --connect-timeout 5 osd stat | grep -q '1 up'"
            ),
            lambda: _prepare_osd(conf),
            tries=5,  # a monitor that has just been made may refuse its first object store
        ),
        Part(
            "rgw",
            ["radosgw", *conf, "-n", "client.rgw", "-f"],
            lambda: quiet("curl", "-s", "-o", "/dev/null", settings.s3_endpoint),
            seconds=120,
            after=lambda: _s3_users(conf),
        ),
    ]


def _registry_config(settings: Settings) -> None:
    Path("/etc/devregistry.yml").write_text(f"""\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: /var/lib/devregistry}}, delete: {{enabled: true}}}}
http: {{addr: "{settings.registry}"}}
""")


def _prepare_mon(settings: Settings) -> None:
    """The object store lives in memory: a new monitor means a new, empty store."""
    if (CEPH / "mon" / "store.db").exists():
        return
    shutil.rmtree(CEPH, ignore_errors=True)
    for name in ("mon", "osd", "rgw", "run"):
        (CEPH / name).mkdir(parents=True)
    port = settings.port("mon")
    cluster = uuid.uuid4()
    (CEPH / "ceph.conf").write_text(f"""\
[global]
fsid = {cluster}
mon_host = v1:127.0.0.1:{port}
public_addr = 127.0.0.1
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
osd_objectstore = memstore
memstore_device_bytes = {settings.osd_bytes}
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 5000
osd_max_pg_per_osd_hard_ratio = 10
mon_data_avail_warn = 1
mon_data_avail_crit = 1
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{settings.port("rgw")}
rgw_data = {CEPH}/rgw
""")
    conf = ("--conf", str(CEPH / "ceph.conf"))
    must(
        "monmaptool",
        "--create",
        "--clobber",
        "--fsid",
        str(cluster),
        "--addv",
        "a",
        f"[v1:127.0.0.1:{port}]",
        f"{CEPH}/monmap",
    )
    must(
        "ceph-mon",
        *conf,
        "--mkfs",
        "-i",
        "a",
        "--monmap",
        f"{CEPH}/monmap",
        "--setuser",
        "root",
        "--setgroup",
        "root",
    )


def _prepare_osd(conf: list[str]) -> None:
    if (CEPH / "osd" / "fsid").exists():
        return
    name = str(uuid.uuid4())
    must("ceph", *conf, "osd", "new", name)
    must(
        "ceph-osd",
        *conf,
        "-i",
        "0",
        "--mkfs",
        "--osd-uuid",
        name,
        "--setuser",
        "root",
        "--setgroup",
        "root",
    )


def _s3_users(conf: list[str]) -> None:
    known = json.loads(must("radosgw-admin", *conf, "user", "list"))
    for user in ("cts", "other"):
        if user not in known:
            key, secret = S3_KEYS[user]
            must(
                "radosgw-admin",
                *conf,
                "user",
                "create",
                f"--uid={user}",
                f"--display-name={user}",
                f"--access-key={key}",
                f"--secret-key={secret}",
            )
    if S3_KEYS["alice"][0] not in must("radosgw-admin", *conf, "user", "info", "--uid=cts"):
        key, secret = S3_KEYS["alice"]
        must(
            "radosgw-admin",
            *conf,
            "key",
            "create",
            "--uid=cts",
            f"--access-key={key}",
            f"--secret-key={secret}",
        )


def forget_objects() -> None:
    """Drop what is left of a store whose memory has gone with the site's last run."""
    shutil.rmtree(CEPH, ignore_errors=True)


def load_images(settings: Settings) -> list[str]:
    """Make and push the test images that the registry does not have; return the names pushed."""
    pushed = []
    for source in sorted(IMAGES.glob("*.sh")):
        name = source.stem
        reference = f"{settings.registry}/test/{name}:1.0"
        if quiet("crane", "digest", "--insecure", reference):
            continue
        with tempfile.TemporaryDirectory() as folder:
            layer = Path(folder) / "layer.tar"
            _layer(source, layer)
            must("crane", "append", "--insecure", "--new_layer", str(layer), "--new_tag", reference)
        options = ["--env", "PATH=/bin", "--workdir", "/"]
        if name != "noentry":
            options += ["--entrypoint", f"/bin/{name}"]
        must(
            "crane",
            "mutate",
            "--insecure",
            reference,
            *options,
            "--set-platform",
            "linux/amd64",
            "--tag",
            reference,
        )
        must("crane", "tag", "--insecure", reference, "latest")
        pushed.append(f"test/{name}:1.0")
    return pushed


def _layer(source: Path, target: Path) -> None:
    busybox = Path("/usr/bin/busybox")
    applets = must(str(busybox), "--list").split()
    with tarfile.open(target, "w") as tar:
        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "var", "root", "home"):
            _add(tar, directory, tarfile.DIRTYPE, 0o755)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        for applet in applets:
            if applet not in ("busybox", source.stem):
                _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        _add(tar, f"bin/{source.stem}", tarfile.REGTYPE, 0o755, source.read_bytes())


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes, mode: int, data: bytes = b"", link: str = ""
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = (
        kind,
        mode,
        len(data),
        link,
        1_700_000_000,
    )
    tar.addfile(info, io.BytesIO(data))


def sample_objects() -> dict[str, bytes]:
    """Return key and content of the sample data: the same on every machine."""

    def content(seed: int, size: int) -> bytes:
        block = b"".join(
            hashlib.sha256(f"{seed}.{n}".encode()).hexdigest().encode() + b"\n" for n in range(1024)
        )
        return (block * (size // len(block) + 1))[:size]

    sizes = (0, 12, 1_000, 65_536, 100_000, 1_000_000, 3_000_000, 20_000_000)
    objects = {f"reads/sample-{n}.txt": content(n, size) for n, size in enumerate(sizes, 1)}
    objects['odd/a b$(touch x)"q"*.txt'] = b"a name that no shell should see\n"
    return objects


def load_data(settings: Settings) -> int:
    """Make the buckets and their objects where they are missing; return how many objects were written."""
    aws = ["aws", "--endpoint-url", settings.s3_endpoint]
    _as_user("cts")
    there = must(
        *aws, "s3api", "list-buckets", "--query", "Buckets[].Name", "--output", "text"
    ).split()
    if {"sample-data", "results"} <= set(there):
        return 0
    for bucket in ("sample-data", "results"):
        if bucket not in there:
            must(*aws, "s3", "mb", f"s3://{bucket}")
    objects = sample_objects()
    with tempfile.TemporaryDirectory() as folder:
        for key, data in objects.items():
            path = Path(folder) / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        must(*aws, "s3", "cp", "--recursive", "--only-show-errors", folder, "s3://sample-data/")
        _as_user("other")
        secret = Path(folder) / "secret"
        secret.write_bytes(b"not for the gateway\n")
        must(*aws, "s3", "mb", "s3://private-data")
        must(*aws, "s3", "cp", "--only-show-errors", str(secret), "s3://private-data/secret.txt")
    return len(objects) + 1


def _as_user(user: str) -> None:
    if user not in S3_KEYS:
        raise ClusterError(f"no S3 user {user}")
    os.environ.update(
        AWS_ACCESS_KEY_ID=S3_KEYS[user][0],
        AWS_SECRET_ACCESS_KEY=S3_KEYS[user][1],
        AWS_DEFAULT_REGION="us-east-1",
        HOME="/root",
    )
