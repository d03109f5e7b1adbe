"""One large object down and up again through a job, the daemon restarted and the line to S3 cut on each way."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import ENDED, DevCluster
from tests.faults.proxy import Proxy

# The same bytes for the same name and size: each KiB is one that no other is like, sixteen times over. Whatever is not in its place
# shows, and an OSD that compresses has an eighth of it.
_REPEAT = """import sys
for block in iter(lambda: sys.stdin.buffer.read(1024), b''): sys.stdout.buffer.write(block * 16)"""
_MAKE = (
    'openssl enc -aes-128-ctr -nosalt -pass "pass:$1" -md sha256 < /dev/zero 2>/dev/null | '
    f'python3 -c "{_REPEAT}" 2>/dev/null | head -c "$2"'
)
_PUT = f'{_MAKE} | aws s3 cp --only-show-errors --expected-size "$2" - "s3://$1"'
_WANTED = f"{_MAKE} | sha256sum"
_FOUND = 'aws s3 cp --only-show-errors "s3://$1" - | sha256sum'
_CEPH = "/var/lib/devceph/ceph.conf"


class Through(NamedTuple):
    """What became of it.

    The job, how many connections each cut reset, whether the bytes are the same, how many bytes went each way
    (down, up), and the peak of the agent's memory in each phase in bytes.
    """

    job: dict[str, Any]
    cuts: tuple[int, int]
    same: bool
    passed: tuple[int, int]
    peaks: dict[str, int]


def through(
    site: DevCluster, proxy: Proxy, size: int, minutes: int, say: Callable[[str], None]
) -> Through:
    """Have an object of `size` bytes copied by a job; at half of each way the line is cut and the daemon restarted.

    The input is removed once the node has it: the store needs room for it once.
    """
    seconds = minutes * 60

    def shell(script: str, *arguments: str) -> str:
        return site.run("sh", "-c", script, "sh", *arguments, seconds=seconds).stdout

    def remove(name: str) -> None:
        site.run("aws", "s3", "rm", "--only-show-errors", f"s3://{name}")
        command = ("radosgw-admin", "--conf", _CEPH, "gc", "process", "--include-all")
        site.run(*command, user="root", seconds=seconds)

    def until(what: Callable[[], bool]) -> None:
        site.until(lambda: what() or site.job(job_id)["state"] in ENDED, seconds)

    def interrupted(down: bool) -> int:
        """Wait until half of it went one way, then cut the line and restart the daemon."""
        until(lambda: proxy.passed[down] - begin[down] > size // 2)
        cut = proxy.cut(1.0)
        site.tool("restart", "gateway")
        way = "fetched" if down else "uploaded"
        say(f"{cut} connections were cut and the daemon restarted while the node {way} it")
        return cut

    key = f"results/large-{uuid.uuid4().hex}/in.bin"
    shell(_PUT, key, str(size))
    say(f"{size} bytes are in the store")
    begin = {down: proxy.passed[down] for down in (True, False)}
    job_id = site.submit(image=site.image("checksum"), input_files=[key], runtime=seconds)
    with _peaks(f"/scratch/cts/jobs/{job_id}/job.json") as peaks:
        first = interrupted(down=True)
        until(lambda: site.job(job_id)["phase"] in ("run", "stage-out"))
        say("the node has it")
        remove(key)
        second = interrupted(down=False)
        until(lambda: False)
    job = site.job(job_id)
    passed = (proxy.passed[True] - begin[True], proxy.passed[False] - begin[False])
    say(f"{job['state']}: {job['error'] or 'no error'}")
    say(f"{passed[0]} bytes went down and {passed[1]} up, {size} are in the object")
    say(", ".join(f"{phase}: {peak >> 20} MiB at most" for phase, peak in sorted(peaks.items())))
    out = f"{job['job_input']['output_dir']}in.bin"
    same = False
    if job["state"] == "complete":
        same = shell(_WANTED, key, str(size)) == shell(_FOUND, out)
        say(f"the SHA-256 of what was written is {'that' if same else 'not that'} of what was read")
        remove(out)
    return Through(job, (first, second), same, passed, peaks)


@contextmanager
def _peaks(job_file: str) -> Iterator[dict[str, int]]:
    """Look at the steps of a job for the time of a block: the peak of the memory of each, in bytes, by its phase."""
    peaks: dict[str, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended
                    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if job_file not in words or "step" not in words or "srun" in words[0]:
                        continue
                    found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
                    phase = words[words.index("step") + 1]
                    if found is not None:
                        peaks[phase] = max(peaks.get(phase, 0), int(found[1]) << 10)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peaks
    finally:
        over.set()
        looking.join()
