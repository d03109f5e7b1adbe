"""A job of the gateway that takes a set of data to a node and back: what its phases took, by the accounting."""

from __future__ import annotations

import json
import time
import uuid
from typing import NamedTuple

from tests.bench.following import run, wait

_COPY = "#!/bin/sh\nexec cp /input_files/file-* /output_files/\n"
_PATIENCE = 120.0  # seconds until Slurm's accounting has the steps


class Phase(NamedTuple):
    """Seconds by the agent's clock, and seconds of CPU as Slurm counted them; its memory would have the page cache in it."""

    seconds: float
    cpu: float


def copy(registry: str, inputs: str, outputs: str) -> dict[str, Phase]:
    """Have a job copy what lies below one place in S3 to another; return its stage-in and stage-out, as `down` and `up`."""
    name = f"{registry}/test/shell"
    image = f"{name}:1.0"
    if name not in run("cts", "images", user="alice").split():
        run("cts", "admin", "image", "approve", image, user="ada")
    job = {
        "cluster": "dev",
        "image": image,
        "input_dirs": [inputs],
        "output_dir": outputs,
        "script": _COPY,
        "cpus": 2,
        "memory": "1GB",
        "runtime": 3600,
        "name": f"bench-{uuid.uuid4().hex[:8]}",
        "params": {"args": []},
    }
    number = run("cts", "submit", "-", user="alice", text=json.dumps(job)).strip()
    wait(number)
    end = time.monotonic() + _PATIENCE
    while True:
        rows = json.loads(run("ctsacct", "-j", number, "--json", user="alice"))
        found = {row["JobID"]: row for row in rows}
        both = [found[f"{number}_0.{phase}"] for phase in ("stage-in", "stage-out")]
        if all(row.get("TotalCPU") is not None for row in both):
            break
        if time.monotonic() > end:
            raise SystemExit(f"the accounting does not have the steps of job {number}")
        time.sleep(2)
    return {
        way: Phase(row["Elapsed"], row["TotalCPU"])
        for way, row in zip(("down", "up"), both, strict=True)
    }
