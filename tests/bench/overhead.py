"""make bench: one container through the gateway beside a hand-written sbatch script, medians of five, as a ratio.

Both read one object of 1 MB, run the same image from a SIF that is there already, and write its output to S3.
Both are timed from the request until the result is known to be complete; the script is watched by squeue
five times a second. Runs on the host; `--inside` is the half that runs in the dev cluster as alice.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

RUNS = 5
_SCRIPT = """#!/bin/bash
#SBATCH --job-name=by-hand
#SBATCH --account=dev
#SBATCH --mem=320M
#SBATCH --time=10
#SBATCH --output=/scratch/bench/by-hand.log
set -eu
work=$(mktemp -d /scratch/bench/work-XXXXXX)
mkdir "$work/in" "$work/out"
aws s3 cp --only-show-errors s3://sample-data/reads/sample-6.txt "$work/in/"
srun apptainer exec --containall --no-home --bind "$work/in:/input_files:ro" --bind "$work/out:/output_files" \\
  /scratch/bench/checksum.sif /bin/checksum
aws s3 cp --only-show-errors --recursive "$work/out" "s3://results/$1/"
rm -rf "$work"
"""


def by_hand(number: int) -> float:
    """Submit the script and watch it with squeue; returns seconds."""
    begin = time.monotonic()
    prefix = f"bench-hand-{time.time_ns()}-{number}"
    job = subprocess.run(
        ["sbatch", "--parsable", "/scratch/bench/by-hand.sbatch", prefix],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    while True:
        state = subprocess.run(
            ["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
            break
        time.sleep(0.2)
    took = time.monotonic() - begin
    if state != "COMPLETED":
        raise SystemExit(
            f"the script ended {state}: {Path('/scratch/bench/by-hand.log').read_text()}"
        )
    return took


def by_gateway(image: str, number: int) -> tuple[float, dict[str, float]]:
    """Submit through cts and wait; returns seconds, and how long the job was in each phase."""
    job = {
        "cluster": "dev",
        "image": image,
        "input_files": ["sample-data/reads/sample-6.txt"],
        "output_dir": f"results/bench-gateway-{time.time_ns()}-{number}",
        "memory": "64MB",
        "runtime": 300,
    }
    begin = time.monotonic()
    done = subprocess.run(
        ["cts", "submit", "-", "--wait"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"the job failed: {done.stderr}")
    shown = json.loads(
        subprocess.run(
            ["cts", "show", "--json", done.stdout.strip()],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    return took, _phases(shown["transition_times"], took)


def _phases(transitions: list[dict[str, str]], took: float) -> dict[str, float]:
    from datetime import datetime

    times = [(row["phase"], datetime.fromisoformat(row["time"])) for row in transitions]
    spent = {one[0]: (two[1] - one[1]).total_seconds() for one, two in pairwise(times)}
    spent["command and request"] = took - sum(spent.values())
    return spent


def inside(image: str) -> None:
    """Measure in the site and print the table."""
    Path("/scratch/bench/by-hand.sbatch").write_text(_SCRIPT)
    hand: list[float] = []
    gateway: list[float] = []
    phases: dict[str, list[float]] = {}
    by_gateway(image, -1)
    by_hand(-1)
    for number in range(RUNS):
        hand.append(by_hand(number))
        took, spent = by_gateway(image, number)
        gateway.append(took)
        for name, seconds in spent.items():
            phases.setdefault(name, []).append(seconds)
    ratio = statistics.median(gateway) / statistics.median(hand)
    print(f"{'one container, 1 MB in, 1 MB out':<34}{'median':>8}{'least':>8}{'most':>8}")
    for name, values in (
        ("sbatch script (aws cli, apptainer)", hand),
        ("gateway (cts submit --wait)", gateway),
    ):
        print(
            f"{name:<34}{statistics.median(values):>7.2f}s{min(values):>7.2f}s{max(values):>7.2f}s"
        )
    print(f"ratio gateway / script: {ratio:.2f}")
    print("where the gateway's time goes (medians): ", end="")
    print(", ".join(f"{name} {statistics.median(values):.2f}s" for name, values in phases.items()))


def main() -> None:
    """Prepare the site as root and run the inside half as alice."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2])
        return
    tool = str(Path(__file__).resolve().parents[2] / "deploy/devcluster")
    facts = json.loads(
        subprocess.run([tool, "env"], capture_output=True, text=True, check=True).stdout
    )
    image = f"{facts['registry']}/test/checksum:1.0"
    subprocess.run(
        [tool, "exec", "--", "install", "-d", "-o", "alice", "/scratch/bench"], check=True
    )
    subprocess.run(
        [tool, "exec", "--user", "ada", "--", "cts", "admin", "image", "approve", image],
        capture_output=True,
        check=False,
    )
    sif = f"test -e /scratch/bench/checksum.sif || apptainer --quiet pull --no-https /scratch/bench/checksum.sif docker://{image}"
    subprocess.run([tool, "exec", "--user", "alice", "--", "sh", "-c", sif], check=True)
    subprocess.run(
        [
            tool,
            "exec",
            "--user",
            "alice",
            "--",
            "python3",
            "/src/tests/bench/overhead.py",
            "--inside",
            image,
        ],
        check=True,
    )


if __name__ == "__main__":
    main()
