"""The half of transfer.py that runs in the site: the data, the tools with the settings of somebody who knows them, the clock."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.agent import crc64
from gateway.agent.crc import CRC32, CRC64NVME
from gateway.agent.hashing import Digest
from gateway.config import S3Section
from gateway.s3.announced import grant_parts
from gateway.s3.client import Checksum, ObjectStore
from tests.bench.transfer_job import copy

BUCKET = "results"
PART = 64 << 20
_KEYS = Path("/home/alice/.aws/credentials")
_CEPH = ("--conf", "/var/lib/devceph/ceph.conf")
_HERE = Path(__file__).resolve().parent
# As somebody sets them who knows the tools and has large files and many: what is in flight is the same for all.
AWS_CONFIG = """[default]
region = us-east-1
endpoint_url = {endpoint}
s3 =
  max_concurrent_requests = 16
  multipart_threshold = 64MB
  multipart_chunksize = 64MB
"""
RCLONE = (
    *("--transfers", "16", "--checkers", "16", "--multi-thread-streams", "8"),
    *("--multi-thread-cutoff", "64M", "--s3-chunk-size", "64M", "--s3-upload-concurrency", "8"),
    *("--s3-upload-cutoff", "64M", "--fast-list"),
)

# A process of its own starts the tool and looks at the clock: a child counts its parent's memory at the fork as its own.
_CLOCK = """
import json, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=2)
took = time.monotonic() - begin
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
sys.exit(code)
"""


class File:
    """A file of a data set: where, how long, and its checksums as the agent computes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.size = path.stat().st_size
        whole, last = divmod(self.size, PART)
        self.parts = [PART] * whole + ([last] if last else []) if self.size > PART else None
        digest = Digest(
            whole=self.parts is None,
            part_sizes=self.parts,
            crc=None if crc64.native() is None else CRC64NVME,
        )
        crc32 = 0
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
                crc32 = CRC32.of(data, crc32)
        self.etag, self.crc = digest.etag, digest.crc
        self.crc32 = CRC32.encode(crc32)


class Bench:
    """All that is measured on one data set after the other."""

    def __init__(self, root: Path, endpoint: str, tools: Sequence[str]) -> None:
        self._root = root
        self._tools = list(tools)
        self._endpoint = endpoint
        self._files: dict[str, list[File]] = {}
        section = S3Section(endpoint_url=endpoint, credentials_file=_KEYS, grant_seconds=86400)
        self._objects = ObjectStore(section)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        config = root / "aws.conf"
        config.write_text(AWS_CONFIG.format(endpoint=endpoint))
        self._client = self._objects.at(BUCKET).client
        keys = self._client._request_signer._credentials  # type: ignore[attr-defined]
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": str(_KEYS),
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "Ceph",
            "RCLONE_CONFIG_S3_ENDPOINT": endpoint,
            "RCLONE_CONFIG_S3_ACCESS_KEY_ID": keys.access_key,
            "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": keys.secret_key,
            "RCLONE_CONFIG": str(root / "rclone.conf"),
        }
        (root / "rclone.conf").touch()
        self._empty("bench/")  # of a run that was broken off

    def make(self, case: str, count: int, size: int) -> None:
        """Make a data set, on the disk and in S3."""
        folder = self._root / case
        folder.mkdir()
        for number in range(count):
            with (folder / f"file-{number:05d}").open("wb") as file:
                for at in range(0, size, 1 << 20):
                    file.write(os.urandom(min(1 << 20, size - at)))
        self._files[case] = [File(path) for path in sorted(folder.iterdir())]
        self._run(self._aws(case, str(folder), f"s3://{BUCKET}/bench/{case}"))

    def drop(self, case: str) -> None:
        """Remove a data set."""
        shutil.rmtree(self._root / case)
        self._empty(f"bench/{case}/")
        del self._files[case]

    def measure(self, case: str, direction: str, rounds: int) -> list[dict[str, Any]]:
        """Have all tools do it `rounds` times in turn; returns a row a tool."""
        tools = [tool for tool in self._tools if direction == "down" or tool != "rclone-sync"]
        runs: dict[str, list[tuple[float, float, float, float]]] = {tool: [] for tool in tools}
        for number in range(rounds):
            shift = number % len(tools)
            for tool in tools[shift:] + tools[:shift]:
                command = self._prepare(tool, case, direction)
                os.sync()
                before = _store_cpu()
                run = self._run(command)
                runs[tool].append((*run, _store_cpu() - before))
                self._check(case, direction)
        size = sum(file.size for file in self._files[case])
        return [self._row(tool, size, each) for tool, each in runs.items()]

    def jobs(self, case: str, registry: str, rounds: int) -> dict[str, list[dict[str, Any]]]:
        """Have as many jobs copy a data set; returns the row of their stage-in (`down`) and of their stage-out (`up`)."""
        runs: dict[str, list[tuple[float, ...]]] = {"down": [], "up": []}
        for _ in range(rounds):
            os.sync()
            phases = copy(registry, f"{BUCKET}/bench/{case}", f"{BUCKET}/bench/up")
            for direction, phase in phases.items():
                runs[direction].append(phase)
            self._check(case, "up")
        size = sum(file.size for file in self._files[case])
        return {way: [self._row("job", size, each)] for way, each in runs.items()}

    @staticmethod
    def _row(tool: str, size: int, each: Sequence[tuple[float, ...]]) -> dict[str, Any]:
        seconds, cpu, *more = (statistics.median(values) for values in zip(*each, strict=True))
        peak, store = more or (None, None)
        rate = size / seconds / 1e6
        took = [round(run[0], 2) for run in each]
        return {"tool": tool, "seconds": seconds, "rate": rate, "cpu": cpu, "peak": peak, "store": store, "each": took}  # fmt: skip

    def _prepare(self, tool: str, case: str, direction: str) -> list[str]:
        """Make what a tool needs; returns its command."""
        out = self._root / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        local = str(out if direction == "down" else self._root / case)
        remote = f"{BUCKET}/bench/{case}" if direction == "down" else f"{BUCKET}/bench/up"
        if tool in ("rclone", "rclone-sync"):
            ends = (f"s3:{remote}", local) if direction == "down" else (local, f"s3:{remote}")
            command = ["rclone", "copy", *RCLONE, *ends]
            return command if tool == "rclone" else ["sh", "-c", '"$@" && sync', "sh", *command]
        if tool == "aws":
            ends = (f"s3://{remote}", local) if direction == "down" else (local, f"s3://{remote}")
            return self._aws(case, *ends)
        if tool == "curl":
            return self._curl(case, direction, out)
        plan = self._root / "plan.json"
        make: Callable[[str, bool], dict[str, Any]] = (
            self._down if direction == "down" else self._up
        )
        awscrt = tool == "agent"
        about = {"part_size": PART, "directory": local, "awscrt": awscrt}
        plan.write_text(json.dumps({**about, **make(case, awscrt)}))
        return ["/usr/bin/python3", "-I", str(_HERE / "engine.py"), direction, str(plan)]

    def _aws(self, case: str, source: str, target: str) -> list[str]:
        return ["aws", "s3", "cp", "--only-show-errors", "--recursive", source, target]

    def _curl(self, case: str, direction: str, out: Path) -> list[str]:
        """One stream: a file after the other, over one connection."""
        lines = []
        for file in self._files[case]:
            if direction == "down":
                url = self._objects.grant_get(BUCKET, f"bench/{case}/{file.name}").url
                lines += [f'url = "{url}"', f'output = "{out / file.name}"']
            else:
                # One PUT of it all, without checksums.
                url = self._client.generate_presigned_url(
                    "put_object", {"Bucket": BUCKET, "Key": f"bench/up/{file.name}"}
                )
                lines += [f'url = "{url}"', f'upload-file = "{file.path}"']
        config = self._root / "curl.conf"
        config.write_text("\n".join(lines) + "\n")
        return ["curl", "--silent", "--show-error", "--fail", "--config", str(config)]

    def _down(self, case: str, awscrt: bool) -> dict[str, Any]:
        inputs, grants = [], {}
        for number, file in enumerate(self._files[case]):
            key = f"bench/{case}/{file.name}"
            inputs.append({"id": number, "path": file.name, "size": file.size, "etag": file.etag,
                           "part_sizes": file.parts, "crc64nvme": file.crc})  # fmt: skip
            grant = self._objects.grant_get(BUCKET, key)
            grants[str(number)] = {"id": number, "url": grant.url, "headers": grant.headers}
        return {"inputs": inputs, "grants": grants}

    def _up(self, case: str, awscrt: bool) -> dict[str, Any]:
        return {"grants": {file.name: self._grant(file, awscrt) for file in self._files[case]}}

    def _grant(self, file: File, awscrt: bool) -> dict[str, Any]:
        key = f"bench/up/{file.name}"
        crc = Checksum("CRC32", file.crc32)
        if awscrt and file.crc is not None:
            crc = Checksum("CRC64NVME", file.crc)
        if file.parts is None:
            put = self._objects.grant_put(BUCKET, key, None, crc)
            return {"path": file.name, "put": {"url": put.url, "headers": put.headers}}
        upload = self._objects.start_upload(BUCKET, key, crc.algorithm)
        parts = grant_parts(self._objects, BUCKET, key, upload, [None] * len(file.parts), PART, [])
        return {"path": file.name, "multipart": parts.model_dump()}

    def _run(self, command: Sequence[str]) -> tuple[float, float, float]:
        """Run a tool; returns seconds, seconds of CPU, bytes of memory at its peak."""
        log = self._root / "log"
        with log.open("wb") as file:
            done = subprocess.run(
                ["/usr/bin/python3", "-I", "-S", "-c", _CLOCK, *command],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=file,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"{command[0]}: {log.read_text()[-2000:]}")
        took, cpu, peak = json.loads(done.stdout)
        return took, cpu, peak

    def _check(self, case: str, direction: str) -> None:
        """See that all is there that should be; then make room."""
        wanted = {file.name: file.size for file in self._files[case]}
        if direction == "down":
            found = {
                path.name: path.stat().st_size
                for path in (self._root / "out").rglob("*")
                if path.is_file()
            }
        else:
            rows = self._objects.listed(BUCKET, "bench/up/", len(wanted) + 1)
            found = {key.removeprefix("bench/up/"): size for key, size in rows}
            self._empty("bench/up/")
        if found != wanted:
            raise SystemExit(f"{len(wanted)} files were to be moved; there are {len(found)}")

    def _empty(self, prefix: str) -> None:
        """Delete objects, and have RGW free their memory now, not in some hours."""
        client = self._client
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            keys: Any = [{"Key": row["Key"]} for row in page.get("Contents", [])]
            if keys:
                client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True})
        collect = ["radosgw-admin", *_CEPH, "gc", "process", "--include-all"]
        subprocess.run(collect, check=True, capture_output=True)


def _store_cpu() -> float:
    """Return the seconds of CPU that RGW and the OSD have taken so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
            if name in ("radosgw", "ceph-osd"):
                ticks += sum(int(word) for word in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")
