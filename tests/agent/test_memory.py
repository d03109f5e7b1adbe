"""What a large input costs the node: bytes of memory that do not grow with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.agent.conftest import Site
from tests.agent.fakes import Stored, zeros

GIBIBYTE = 1 << 30
CRC_OF_ZEROS = "LboFOsM6Fuk="
MOST = 96 << 20  # 16 threads of 256 KiB, the hashing thread's 1 MiB, and room
ETAG = "5ec7e7-64"  # parts that are not known: the CRC is what is checked
_CHILD = """
import json, os, resource, sys
from pathlib import Path
from gateway.agent import crc64
from gateway.agent.download import Downloader
from gateway.agent.files import Input, read_job
from gateway.agent.mailbox import Mailbox, Stop
from gateway.agent.place import Place, Slurm

job = read_job(Path(sys.argv[1]))
slurm = Slurm("77", "77", 0, 0, "n1")
place = Place(job, 0, slurm)
os.fsync = lambda handle: None  # the disk's speed is not what is measured
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
crc64.native()  # imports awscrt
before = peak()
item = Input(1, "zeros", int(sys.argv[2]), sys.argv[3], None, sys.argv[4])
Downloader(job, place, Mailbox(job, 0, slurm, place, "stage-in"), Stop(), lambda n: None).fetch([item])
print(json.dumps({"grown": peak() - before, "size": (place.inputs / "zeros").stat().st_size}))
"""

_PARTS = """
import sys
from pathlib import Path
from gateway.agent.files import read_fields
from gateway.agent.puts import read_grants

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10

before = peak()
grants = read_grants(read_fields(Path(sys.argv[1])))
print(len(grants["huge"].parts), peak() - before)
"""


def test_the_grants_of_10000_parts_are_read_in_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    url = f"https://s3.example.org/{'b' * 63}/{'k' * 1024}?partNumber=9999&{'q' * 500}"
    part = {"url": url, "headers": {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}}
    multipart = {
        "part_size": 525 << 20,
        "parts": [{"number": number, **part} for number in range(1, 10_001)],
        "complete": {"url": url, "headers": {}},
    }
    answer = {"expires": 9e18, "outputs": [{"path": "huge", "put": None, "multipart": multipart}]}
    letter = tmp_path / "answer.json"
    letter.write_text(json.dumps(answer))
    assert letter.stat().st_size > 15 << 20
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _PARTS, str(letter)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    parts, grown = map(int, done.stdout.split())
    assert parts == 10_000
    assert grown < MOST, f"{grown >> 20} MiB"


def test_a_gibibyte_is_fetched_and_checked_in_a_fixed_amount_of_memory(site: Site) -> None:
    site.place()
    site.daemon.inputs[1] = "zeros"
    site.s3.objects["zeros"] = Stored(b"", ETAG)
    site.s3.fault(zeros(GIBIBYTE), method="GET", times=1000)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _CHILD,
            str(site.job_dir / "job.json"),
            str(GIBIBYTE),
            ETAG,
            CRC_OF_ZEROS,
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    (site.base / "in" / "zeros").unlink(
        missing_ok=True
    )  # pytest keeps the directories of some runs
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["size"] == GIBIBYTE
    assert seen["grown"] < MOST
    assert site.s3.count("GET") == 64
