"""make cold: an array of 500 tasks whose image is in no cache. Prints how often the registry gave each blob away, by its own log.

Fewer tasks with a number as argument. Runs on the host; `--inside` is the half that runs in the dev cluster as root: it makes an
image that nobody has seen, submits as alice, and reads the log of the registry from where it was before.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.following import run, wait

_LOG = Path("/var/log/devcluster/registry.log")
_GET = re.compile(r'"GET /v2/(\S+)/blobs/(sha256:[0-9a-f]{64}) HTTP/[0-9.]+" 200 ')


def blobs_given(log: bytes, repository: str) -> Counter[str]:
    """Count in the log of a registry (its access lines) how often each blob of a repository was given whole."""
    found = _GET.findall(log.decode(errors="replace"))
    return Counter(digest for name, digest in found if name == repository)


def inside(registry: str, tasks: int) -> None:
    """Run the array in the site and count."""
    mark = uuid.uuid4().hex[:8]
    repository = f"test/cold-{mark}"
    image = f"{registry}/{repository}:1.0"
    label = ("--label", f"cold={mark}", "--entrypoint", "/bin/true")
    run("crane", "mutate", "--insecure", f"{registry}/test/argv:1.0", *label, "--tag", image)
    run("cts", "admin", "image", "approve", image, user="ada")
    manifest = json.loads(run("crane", "manifest", "--insecure", image))
    wanted = {entry["digest"] for entry in (manifest["config"], *manifest["layers"])}
    offset = _LOG.stat().st_size
    job = {
        "cluster": "dev",
        "image": image,
        "input_files": ["sample-data/reads/sample-2.txt"],
        "output_dir": f"results/cold-{mark}",
        "array": f"0-{tasks - 1}",
        "cpus": 1,
        "memory": "64MB",
        "runtime": 120,
        "allow_empty_output": True,
        "params": {"args": []},
    }
    begin = time.monotonic()
    number = run("cts", "submit", "-", user="alice", text=json.dumps(job)).strip()
    print(f"job {number}: {tasks} tasks, image {image}", flush=True)
    wait(number)
    print(f"complete after {time.monotonic() - begin:.0f} s")
    with _LOG.open("rb") as file:
        file.seek(offset)
        given = blobs_given(file.read(), repository)
    for digest in sorted(wanted | set(given)):
        print(
            f"  {digest}  given {given[digest]} times"
            if given[digest] != 1
            else f"  {digest}  given once"
        )
    read = (
        "import collections, json, sqlite3, sys; d = sqlite3.connect('/var/lib/cts/cts.db');"
        "rows = d.execute('SELECT result FROM container WHERE job_id=?', sys.argv[1:]);"
        "print(json.dumps(collections.Counter(str(json.loads(r[0])['image_cached']) for r in rows)))"
    )
    cached = json.loads(run("python3", "-c", read, number, user="ctsd"))
    print(
        f"{cached.get('False', 0)} task converted it, {cached.get('True', 0)} found it in the cache"
    )
    if given != Counter(wanted) or cached.get("False") != 1:
        raise SystemExit("not once")


def main() -> None:
    """Run the inside half as root in the dev cluster."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], int(sys.argv[3]))
        return
    tasks = sys.argv[1] if len(sys.argv) > 1 else "500"
    tool = str(Path(__file__).resolve().parents[2] / "deploy/devcluster")
    facts = json.loads(
        subprocess.run([tool, "env"], capture_output=True, text=True, check=True).stdout
    )
    script = ("/opt/cts/bin/python", "/src/tests/bench/cold.py", "--inside", facts["registry"])
    subprocess.run([tool, "exec", "--", *script, tasks], check=True)


if __name__ == "__main__":
    main()
