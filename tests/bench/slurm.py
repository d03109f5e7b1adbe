"""make bench, Slurm: many small jobs through the gateway beside a bare sbatch loop, and what a look at 10,000 tasks costs.

The jobs wait in a partition that starts nothing, so that only their submission is measured. Chunks of both alternate in one
run. Then arrays of 10, 1,000 and 10,000 tasks wait in Slurm: how many calls slurmctld gets from the gateway in a minute
(sdiag), and what one look of the poll loop costs. Runs on the host; `--inside` is the half that runs in the dev cluster.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

CHUNKS, CHUNK = 5, 200
TASKS = (10, 1_000, 10_000)
WATCH = 60.0  # seconds
_SOCKET = "/run/cts/cts.sock"
_PARTITION = "debug"
_SCRIPT = f"""#!/bin/sh
#SBATCH --job-name=by-hand
#SBATCH --account=dev
#SBATCH --partition={_PARTITION}
#SBATCH --mem=320M
#SBATCH --time=10
#SBATCH --output=/dev/null
true
"""


def by_hand() -> float:
    """Submit a chunk by sbatch, one after the other; returns seconds."""
    loop = f"for i in $(seq {CHUNK}); do sbatch --parsable /tmp/by-hand.sbatch; done > /dev/null"
    begin = time.monotonic()
    subprocess.run(["runuser", "-u", "ctsjob", "--", "bash", "-c", loop], check=True)
    return time.monotonic() - begin


def by_gateway(image: str) -> tuple[float, float]:
    """Submit a chunk through the socket; returns the seconds until all are accepted, and until Slurm has all."""
    done = subprocess.run(
        ["runuser", "-u", "alice", "--", sys.executable, __file__, "--submit", image],
        capture_output=True,
        text=True,
        check=True,
    )
    accepted, submitted = map(float, done.stdout.split())
    return accepted, submitted


def submit(image: str) -> None:
    """Submit a chunk as the user that this is, and wait until Slurm has it; prints both times."""
    from gateway.client import Client

    with Client(_SOCKET) as client:
        begin = time.monotonic()
        jobs = [client.submit(_job(image, number)) for number in range(CHUNK)]
        accepted = time.monotonic() - begin
        waiting = set(jobs)
        while waiting:
            waiting -= {job.id for job in client.jobs(limit=CHUNK) if job.phase == "pending"}
            time.sleep(0.05)
        print(accepted, time.monotonic() - begin)


def _job(image: str, number: int, **fields: Any) -> dict[str, Any]:
    return {
        "cluster": "dev",
        "image": image,
        "input_files": ["sample-data/reads/sample-2.txt"],
        "output_dir": f"results/bench-{time.time_ns()}-{number}",
        "partition": _PARTITION,
        "memory": "64MB",
        "runtime": 300,
        **fields,
    }


def throughput(image: str) -> None:
    """Print how fast both submit."""
    hand: list[float] = []
    accepted: list[float] = []
    gateway: list[float] = []
    for _ in range(CHUNKS):
        hand.append(CHUNK / by_hand())
        seconds, whole = by_gateway(image)
        accepted.append(CHUNK / seconds)
        gateway.append(CHUNK / whole)
    print(f"{f'{CHUNKS * CHUNK} small jobs, a second':<34}{'median':>8}{'least':>8}{'most':>8}")
    for name, rates in (
        ("sbatch loop", hand),
        ("gateway: accepted", accepted),
        ("gateway: submitted to Slurm", gateway),
    ):
        print(
            f"{name:<34}{statistics.median(rates):>8.1f}{min(rates):>8.1f}{max(rates):>8.1f}"
        )
    print(
        f"ratio gateway / sbatch loop: {statistics.median(gateway) / statistics.median(hand):.2f}"
    )


def clear() -> None:
    """Take everything out of the partition, and wait until the gateway knows."""
    subprocess.run(["scancel", f"--partition={_PARTITION}"], check=True)
    while _queued():
        time.sleep(0.5)


def _queued() -> int:
    found = subprocess.run(
        ["squeue", "-h", "-r", "-t", "pending", "-p", _PARTITION, "-o", "%i"],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(found.stdout.split())


def main() -> None:
    """Prepare the site as root and run the inside half."""


if __name__ == "__main__":
    main()
