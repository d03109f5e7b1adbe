"""Commands of the site's users, and a job followed to its end: for the benches that run in the dev cluster as root."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

_ENDED = ("complete", "error", "canceled")


def run(*words: str, user: str = "root", text: str | None = None) -> str:
    """Run a command as a user; return what it prints."""
    done = subprocess.run(
        ["runuser", "-u", user, "--", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def wait(job: str) -> dict[str, Any]:
    """Follow a job of alice's to its end on the terminal; return what is then shown of it, which is complete."""
    said = ""
    begin = time.monotonic()
    while True:
        status: dict[str, Any] = json.loads(run("cts", "show", "--json", job, user="alice"))
        text = ", ".join(f"{count} {phase}" for phase, count in status["containers"].items())
        if text != said:
            print(f"  {time.monotonic() - begin:6.0f} s  {text}", flush=True)
            said = text
        if status["state"] in _ENDED:
            break
        time.sleep(5)
    if status["state"] != "complete":
        raise SystemExit(f"the job ended {status['state']}: {status['error']}")
    return status
