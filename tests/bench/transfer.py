"""make bench: the agent's downloads and uploads beside rclone, the aws cli and one stream of curl, against the site's RGW.

Three sets of data: one file of 2 GiB, 100 files of 20 MiB, 5,000 files of 100 kB. In each round every tool has its turn, in
another order each time, so that whatever else the machine does hits all alike; the numbers are medians of the rounds. Before
a turn all that is dirty is written to the disk, and what the last one wrote is gone. The agent's engine is timed with grants that
are there, as rclone and aws have their keys. `rclone-sync` is rclone and a sync(1) after it, for downloads: then it has done what the
agent does, but for the checksums. `job` is a real job of the gateway that copies the data: its stage-in and stage-out, with
all that is in them beside the transfer (the grants, the start of the step).

    transfer.py [--case large|medium|small] [--rounds N] [--tools agent,agent-plain,rclone,rclone-sync,aws,curl,job] [--directions down,up] [--write]

`--write` makes docs/benchmarks.md and its charts. Runs on the host; `--inside` is the half that runs in the dev cluster as root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

ROOT = Path("/scratch/bench/transfer")
CASES = {
    "large": (1, 2 << 30),
    "medium": (100, 20 << 20),
    "small": (5000, 100_000),
}
TOOLS = ("agent", "agent-plain", "rclone", "rclone-sync", "aws", "curl", "job")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--directions", default="down,up")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--inside", metavar="FACTS")
    return parser.parse_args()


def inside(options: argparse.Namespace) -> None:
    """Measure in the site; the last line printed is the results as JSON."""
    from tests.bench.transfer_tools import Bench  # the gateway's own Python has boto3

    facts = json.loads(options.inside)
    tools = options.tools.split(",")
    alone = [tool for tool in tools if tool != "job"]
    bench = Bench(ROOT, facts["s3_endpoint"], alone)
    results: list[dict[str, Any]] = []
    for case in options.case or CASES:
        count, size = CASES[case]
        print(f"{case}: {count} x {size} bytes", flush=True)
        bench.make(case, count, size)
        of_jobs = bench.jobs(case, facts["registry"], options.rounds) if "job" in tools else {}
        for direction in options.directions.split(","):
            rows = bench.measure(case, direction, options.rounds)
            for row in [*rows, *of_jobs.get(direction, [])]:
                results.append({"case": case, "direction": direction, **row})
                print("  " + line(row, direction), flush=True)
        bench.drop(case)
    print(json.dumps(results))


def line(row: dict[str, Any], direction: str) -> str:
    """Return a row for people who watch."""
    text = f"{direction:<5}{row['tool']:<12}{row['seconds']:>7.2f} s {row['rate']:>7.0f} MB/s{row['cpu']:>7.2f} s CPU"
    if row["store"] is not None:
        text += f", {row['store']:.2f} s of the store {row['peak'] / 1e6:>6.0f} MB"
    return text + "   each: " + " ".join(f"{seconds:.2f}" for seconds in row["each"])


def main() -> None:
    """Run the inside half as root of the site, and write the page where that is wanted."""
    options = arguments()
    if options.inside is not None:
        inside(options)
        return
    tool = str(Path(__file__).resolve().parents[2] / "deploy/devcluster")
    facts = subprocess.run([tool, "env"], capture_output=True, text=True, check=True).stdout
    before = os.getloadavg()[0]
    command = [tool, "exec", "--", "/opt/cts/bin/python", "-u", "/src/tests/bench/transfer.py"]
    passed = [word for word in sys.argv[1:] if word != "--write"]
    last = ""
    with subprocess.Popen(
        [*command, *passed, "--inside", facts], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for text in running.stdout:
            last = text
            if not text.startswith("["):
                print(text, end="", flush=True)
    if running.returncode:
        raise SystemExit(running.returncode)
    if options.write:
        from tests.bench.transfer_page import write

        write(json.loads(last), options.rounds, before, time.strftime("%Y-%m-%d"))


if __name__ == "__main__":
    main()
