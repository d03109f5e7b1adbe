"""make bench, Slurm: many small jobs through the gateway beside a bare sbatch loop, and what a look at 10,000 tasks costs.

The jobs wait in a partition that starts nothing, so that only their submission is measured. Rounds of both alternate in one
run: an sbatch loop; then as many jobs are accepted, all of which wait for one other job, and are submitted once that is
canceled. At last arrays of 10, 1,000 and 10,000 tasks wait in Slurm: what one look of the poll loop takes (the loop's own code
on the daemon's database, squeue's time in the wall time), and how many calls slurmctld gets from the gateway in a minute (sdiag).

Runs on the host; `--inside` is the half that runs in the dev cluster as root, `--submit` the user's part of that, `--look` the
daemon's.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

ROUNDS, JOBS = 5, 200
TOGETHER = 32  # submissions that the gateway hands over together
TASKS = (10, 1_000, 10_000)
WATCH = 60.0  # seconds
_LARGEST = 1_000  # containers of a job
_PARTITION = "debug"
_SCRIPT = Path("/tmp/by-hand.sbatch")
_TEXT = f"""#!/bin/sh
#SBATCH --job-name=by-hand
#SBATCH --account=dev
#SBATCH --partition={_PARTITION}
#SBATCH --mem=320M
#SBATCH --time=10
#SBATCH --output=/dev/null
true
"""


def run(*argv: str, user: str = "root") -> str:
    """Run a command as a user of the site; returns its output."""
    command = argv if user == "root" else ("runuser", "-u", user, "--", *argv)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def until(what: Callable[[], bool], pause: float = 0.05) -> None:
    """Wait until something holds."""
    while not what():
        time.sleep(pause)


def queued() -> int:
    """Return how many tasks wait in the partition."""
    text = run("squeue", "-h", "-r", "-t", "pending", "-p", _PARTITION, "-o", "%i")
    return len(text.split())


def has_queued(count: int) -> bool:
    """Whether so many tasks wait in the partition."""
    return queued() >= count


def clear() -> None:
    """Take everything out of the partition, and wait until the gateway knows and has put away what is left of the jobs."""
    run("scancel", f"--partition={_PARTITION}")
    until(lambda: queued() == 0)
    until(lambda: not json.loads(run("cts", "jobs", "--json", "--state", "job_submitted", user="alice")), 0.5)  # fmt: skip
    until(idle)


def idle() -> bool:
    """Whether the daemon does next to nothing for two seconds."""
    before = daemon_cpu()
    time.sleep(2)
    return daemon_cpu() - before < 0.2


def by_hand() -> float:
    """Submit by sbatch, one after the other; returns how many a second."""
    begin = time.monotonic()
    loop = f"for i in $(seq {JOBS}); do sbatch --parsable {_SCRIPT}; done"
    run("bash", "-c", loop, user="ctsjob")
    return JOBS / (time.monotonic() - begin)


def by_gateway(image: str) -> tuple[float, float]:
    """Submit through the socket; returns how many a second were accepted, and were submitted to Slurm after that."""
    client = subprocess.Popen(
        ["runuser", "-u", "alice", "--", sys.executable, __file__, "--submit", image],
        stdout=subprocess.PIPE,
        text=True,
    )
    out = client.stdout
    if out is None:
        raise SystemExit("no output")
    accepted = float(out.readline())
    if client.wait() != 0:
        raise SystemExit("the submission failed")
    until(lambda: queued() >= JOBS, 1)  # looked at seldom: squeue is no part of it
    found = json.loads(run("cts", "jobs", "--json", "--limit", str(JOBS), user="alice"))
    times = sorted(
        datetime.fromisoformat(step["time"]).timestamp()
        for job in found
        for step in job["transition_times"]
        if step["phase"] == "pending"
    )
    # They are noted together when all of some are submitted: the clock begins with the first of these.
    return accepted, (len(times) - TOGETHER) / (times[-1] - times[TOGETHER - 1])


def submit(image: str) -> None:
    """Have jobs wait for another, which is then canceled; prints how many a second were accepted."""
    from gateway.client import Client

    with Client() as client:
        gate = client.submit(job(image, -1))
        until(lambda: client.status(gate).phase == "pending")
        wait = {"depends_on": [{"job_id": gate, "condition": "afterany"}]}
        begin = time.monotonic()
        for number in range(JOBS):
            client.submit(job(image, number, **wait))
        print(JOBS / (time.monotonic() - begin), flush=True)
        client.cancel(gate)


def job(image: str, number: int, **fields: Any) -> dict[str, Any]:
    """Return a small job's document."""
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
    for _ in range(ROUNDS):
        hand.append(by_hand())
        clear()
        rates = by_gateway(image)
        accepted.append(rates[0])
        gateway.append(rates[1])
        clear()
    print(f"{f'{ROUNDS * JOBS} small jobs: a second':<34}{'median':>8}{'least':>8}{'most':>8}")
    for name, found in (
        ("sbatch loop", hand),
        ("gateway: accepted", accepted),
        ("gateway: submitted to Slurm", gateway),
    ):
        print(f"{name:<34}{statistics.median(found):>8.1f}{min(found):>8.1f}{max(found):>8.1f}")
    ratio = statistics.median(gateway) / statistics.median(hand)
    print(f"ratio gateway / sbatch loop: {ratio:.2f}")


def calls() -> dict[str, int]:
    """Return how often slurmctld was called by the user of the jobs and the daemon's, and for what (sdiag)."""
    text = run("sdiag")
    users = text.partition("by user")[2].partition("Pending RPC")[0]
    found = re.findall(r"^\s*(ctsjob|ctsd)\s.*count:(\d+)", users, re.MULTILINE)
    return {user: int(count) for user, count in found}


def looks(image: str) -> None:
    """Print what a minute costs slurmctld, and a look the daemon, at more and more tasks."""
    columns = ("active tasks", "calls in 60 s", "daemon CPU, %", "look, s", "its CPU, s")
    print("".join(f"{name:>16}" for name in columns))
    for count in TASKS:
        for number in range(-(-count // _LARGEST)):
            wanted = {"array": f"0-{min(count, _LARGEST) - 1}"}
            document = json.dumps(job(image, number, **wanted))
            submit_one = ["runuser", "-u", "alice", "--", "cts", "submit", "-"]
            subprocess.run(submit_one, input=document, text=True, check=True, capture_output=True)
        until(partial(has_queued, count), 1)
        time.sleep(10)
        before, cpu, begin = calls(), daemon_cpu(), time.monotonic()
        time.sleep(WATCH)
        seconds = time.monotonic() - begin
        after = calls()
        share = 100 * (daemon_cpu() - cpu) / seconds
        made = sum(after.values()) - sum(before.values())
        took, used = run(sys.executable, __file__, "--look", user="ctsd").split()
        print(f"{count:>16}{made:>16}{share:>16.1f}{took:>16}{used:>16}", flush=True)
        clear()


def look() -> None:
    """Have the code of the poll loop look at the site, beside the daemon; prints the medians of wall and CPU seconds."""
    from gateway.config import load_config
    from gateway.daemon.poll import Poller
    from gateway.daemon.site import make_site
    from gateway.s3.client import ObjectStore
    from gateway.store.db import Database

    config = load_config(Path("/etc/cts/gateway.toml"))
    site = make_site("dev", config.sites["dev"], exclusive=False)
    poller = Poller(Database(config.database_url()), ObjectStore(config.s3), site)
    found: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        begin, before = time.monotonic(), time.process_time()
        poller.tick()
        found.append((time.monotonic() - begin, time.process_time() - before))
    site.close()
    print(*(f"{statistics.median(values):.2f}" for values in zip(*found, strict=True)))


def daemon_cpu() -> float:
    """Return the CPU seconds of the daemon."""
    pid = run("pgrep", "-x", "-u", "ctsd", "ctsd").split()[0]
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def inside(image: str) -> None:
    """Measure in the site and print the tables."""
    _SCRIPT.write_text(_TEXT)
    run("scontrol", "update", f"partitionname={_PARTITION}", "state=down")
    try:
        clear()
        throughput(image)
        looks(image)
    finally:
        run("scancel", f"--partition={_PARTITION}")
        run("scontrol", "update", f"partitionname={_PARTITION}", "state=up")


def main() -> None:
    """Prepare the site and run the inside half."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2])
        return
    if sys.argv[1:2] == ["--look"]:
        look()
        return
    if sys.argv[1:2] == ["--submit"]:
        submit(sys.argv[2])
        return
    tool = str(Path(__file__).resolve().parents[2] / "deploy/devcluster")
    facts = json.loads(
        subprocess.run([tool, "env"], capture_output=True, text=True, check=True).stdout
    )
    image = f"{facts['registry']}/test/checksum:1.0"
    approve = ("exec", "--user", "ada", "--", "cts", "admin", "image", "approve", image)
    subprocess.run([tool, *approve], capture_output=True, check=False)
    python = "/opt/cts/bin/python"
    subprocess.run(
        [tool, "exec", "--", python, "/src/tests/bench/slurm.py", "--inside", image], check=True
    )


if __name__ == "__main__":
    main()
