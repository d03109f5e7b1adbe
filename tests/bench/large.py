"""make large: one object down and up again through a job; on each way the daemon is restarted and the line to S3 cut.

`--size` in GiB: the disk needs room for it twice, and the store of the dev cluster once: 3 GiB in memory; 20 where it is in a file
(`deploy/devcluster up --osd-store file`), which takes an eighth of that, for the bytes compress well. Its small sister is in
tests/faults/test_transfer.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))

from tests.conftest import found
from tests.faults.proxy import between
from tests.large import through

_MOST_PASSED = 1.4  # of its size: one that began anew after its cut would be at 1.5; up to 1 GiB was on its way
_MOST_MEMORY = 200 << 20


def main() -> int:
    """Run it; 1 when it did not come through."""
    options = argparse.ArgumentParser(description="one large object through a job")
    options.add_argument("--size", type=float, default=3.0, metavar="GIB")
    options.add_argument("--minutes", type=int, default=60)
    given = options.parse_args()
    size = int(given.size * (1 << 30))
    site = found()
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:7.1f} s  {text}", flush=True)

    with between(site, grant_seconds=600) as proxy:
        done = through(site, proxy, size, given.minutes, say)
    verdicts = {
        "complete, with the same bytes": done.job["state"] == "complete" and done.same,
        "the line was cut on each way": min(done.cuts) > 0,
        "what had come through was not sent again": max(done.passed) < _MOST_PASSED * size,
        f"the agent's memory stayed below {_MOST_MEMORY >> 20} MiB": 0
        < max(done.peaks.values(), default=0)
        < _MOST_MEMORY,
    }
    for text, holds in verdicts.items():
        say(f"{'yes' if holds else 'NO '}  {text}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
