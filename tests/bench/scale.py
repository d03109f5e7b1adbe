"""make scale: one job of 10,000 objects over 1,000 containers: how long its submission takes, that all of it comes out right, and
how much memory the daemon needed at most. Smaller with FILES and CONTAINERS as arguments.

Runs on the host; `--inside` is the half that runs in the dev cluster as root: it writes the objects, submits as alice, and
compares every output with what its inputs must give.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.following import run, wait

_BUCKET = "sample-data"


def content(number: int) -> bytes:
    """Return the bytes of an input: each its own, some 100 B to 3 KB."""
    return hashlib.sha256(str(number).encode()).hexdigest().encode() * (2 + number % 50)


def store() -> Any:
    """Return a client of the site's S3 with the service's keys."""
    import boto3
    from botocore.config import Config

    config = tomllib.loads(Path("/etc/cts/gateway.toml").read_text())["s3"]
    keys = configparser.ConfigParser()
    keys.read(config["credentials_file"])
    return boto3.client(
        "s3",
        endpoint_url=config["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id=keys["default"]["aws_access_key_id"],
        aws_secret_access_key=keys["default"]["aws_secret_access_key"],
        config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
    )


def daemon() -> int:
    """Return the process id of the daemon."""
    found = subprocess.run(
        ["pgrep", "-x", "-u", "ctsd", "ctsd"], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def memory(pid: int, line: str) -> float:
    """Return VmRSS or VmHWM of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{line}:\s+([0-9]+) kB$", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"no {line} of {pid}")
    return int(match[1]) / 1024


def cts(*arguments: str, text: str | None = None) -> str:
    """Run cts as alice."""
    return run("cts", *arguments, user="alice", text=text)


def write_inputs(client: Any, files: int) -> list[str]:
    """Write the input objects that are not there yet; return their keys in order."""
    keys = [f"scale/{number:05d}.txt" for number in range(files)]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix="scale/")
    there = {row["Key"] for page in pages for row in page.get("Contents", [])}

    def put(number: int) -> None:
        if keys[number] not in there:
            client.put_object(Bucket=_BUCKET, Key=keys[number], Body=content(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(files)))
    return keys


def verify(client: Any, prefix: str, keys: list[str], containers: int) -> int:
    """Compare the copy of every input, beside a list of sums a container; return how many objects there are."""
    bucket, _, folder = prefix.partition("/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/")
    there = {row["Key"] for page in pages for row in page.get("Contents", [])}
    wanted = {f"{folder}/{key.rpartition('/')[2]}": number for number, key in enumerate(keys)}
    sums = [key for key in there if key.startswith(f"{folder}/checksums-")]
    if there - set(sums) != set(wanted) or len(sums) != containers:
        raise SystemExit(f"{len(there)} outputs instead of {len(wanted) + containers}")

    def same(item: tuple[str, int]) -> bool:
        body: bytes = client.get_object(Bucket=bucket, Key=item[0])["Body"].read()
        return body == content(item[1])

    with ThreadPoolExecutor(16) as pool:
        wrong = [
            key
            for key, good in zip(wanted, pool.map(same, wanted.items()), strict=True)
            if not good
        ]
    if wrong:
        raise SystemExit(f"{len(wrong)} outputs are wrong, the first: {wrong[0]}")
    return len(there)


def inside(image: str, files: int, containers: int) -> None:
    """Run the job in the site and print what it took."""
    client = store()
    keys = write_inputs(client, files)
    pid = daemon()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    idle = memory(pid, "VmRSS")
    prefix = f"results/scale-{time.time_ns()}"
    job = {
        "cluster": "dev",
        "image": image,
        "input_files": [f"{_BUCKET}/{key}" for key in keys],
        "output_dir": prefix,
        "num_containers": containers,
        "cpus": 4,  # 16 at a time on the dev cluster's four nodes
        "memory": "32MB",
        "runtime": 60,
    }
    begin = time.monotonic()
    number = cts("submit", "-", text=json.dumps(job)).strip()
    took = time.monotonic() - begin
    print(f"job {number}: {files} objects over {containers} containers, submitted in {took:.1f} s")
    print(f"the daemon's memory: {idle:.0f} MiB before, {memory(pid, 'VmHWM'):.0f} MiB at most")
    begin = time.monotonic()
    shown = wait(number)["containers"]
    if shown != {"complete": containers}:
        raise SystemExit(f"complete, but its containers are {shown}")
    print(f"complete after {time.monotonic() - begin:.0f} s")
    count = verify(client, prefix, keys, containers)
    arrays = json.loads(cts("show", "--json", number))["slurm_jobs"]
    print(
        f"{count} outputs, the copies of {files} inputs byte for byte; Slurm's arrays: {', '.join(arrays)}"
    )
    if daemon() != pid:
        raise SystemExit("the daemon was restarted meanwhile")
    print(f"the daemon's memory: {idle:.0f} MiB before, {memory(pid, 'VmHWM'):.0f} MiB at most")


def main() -> None:
    """Run the inside half as root in the dev cluster."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    files, containers = (int(text) for text in (sys.argv[1:] or ["10000", "1000"]))
    tool = str(Path(__file__).resolve().parents[2] / "deploy/devcluster")
    facts = json.loads(
        subprocess.run([tool, "env"], capture_output=True, text=True, check=True).stdout
    )
    image = f"{facts['registry']}/test/checksum:1.0"
    subprocess.run(
        [tool, "exec", "--user", "ada", "--", "cts", "admin", "image", "approve", image],
        capture_output=True,
        check=False,
    )
    script = "/src/tests/bench/scale.py"
    arguments = ["--inside", image, str(files), str(containers)]
    subprocess.run([tool, "exec", "--", "/opt/cts/bin/python", script, *arguments], check=True)


if __name__ == "__main__":
    main()
