"""The sample data: the buckets and objects that demo and tests find in S3."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from urllib.parse import quote

from devclusterlib.parts import must, quiet
from devclusterlib.settings import Settings
from devclusterlib.storage import S3_KEYS, STORE_BUCKETS


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


def load(settings: Settings) -> int:
    """Make the buckets and their objects where they are missing; return how many objects were written."""
    last = "private-data/secret.txt"  # written last: where it is, everything is
    if quiet(*_curl(settings, "other", last), "--head"):
        return 0
    own = (("cts", "sample-data"), ("cts", "results"), ("other", "private-data"))
    for user, bucket in (*own, *(("archive", bucket) for bucket in STORE_BUCKETS)):
        must(*_curl(settings, user, bucket), "--request", "PUT")
    objects = sample_objects()
    with tempfile.TemporaryDirectory() as folder:
        for key, data in objects.items():
            path = Path(folder) / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        # By the AWS tools, which send the larger ones in parts and with checksums, as users do.
        access, password = S3_KEYS["cts"]
        must(
            *("aws", "--endpoint-url", settings.s3_endpoint, "s3", "cp"),
            *("--recursive", "--only-show-errors", folder, "s3://sample-data/"),
            environment={
                "AWS_ACCESS_KEY_ID": access,
                "AWS_SECRET_ACCESS_KEY": password,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
        secret = Path(folder) / "secret"
        secret.write_bytes(b"not for the gateway\n")
        old = Path(folder) / "old"
        old.write_bytes(b"kept since long ago\n")
        for bucket in STORE_BUCKETS:
            must(*_curl(settings, "archive", f"{bucket}/reads/old.txt"), "--upload-file", str(old))
        must(*_curl(settings, "other", last), "--upload-file", str(secret))
    return len(objects) + len(STORE_BUCKETS) + 1


def _curl(settings: Settings, user: str, path: str) -> list[str]:
    """Return the start of a signed request; one of curl takes a fiftieth of the time of one of the AWS tools."""
    return [
        *("curl", "--silent", "--show-error", "--fail", "--output", "/dev/null"),
        *("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", ":".join(S3_KEYS[user])),
        f"{settings.s3_endpoint}/{quote(path)}",
    ]
