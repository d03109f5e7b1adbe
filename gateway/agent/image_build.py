"""Making a SIF file of an image with apptainer: what it is called with, and what its failures mean."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Optional

from .container import host_environment
from .files import Job, Say, redact
from .mailbox import Stop
from .processes import Effort, kill_session

_ATTEMPTS = 3
STALLED = 120.0  # seconds in which a conversion does nothing at all
# What a registry or the net says of trouble that may pass.
_AGAIN = re.compile(
    r"timeout|timed out|connection re|unexpected eof|temporary failure|toomanyrequests|"
    r"too many requests|\b(429|50[0234])\b|internal server error|unavailable|no such host|did nothing for",
    re.IGNORECASE,
)
# What it says of the image itself, to whoever asks.
_NEVER = re.compile(
    r"(manifest|blob|name) unknown|manifest.*not found|unauthorized|authentication required|"
    r"access to the resource is denied|\b40[134]\b|x509",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ImageError(Exception):
    """The image cannot be had; the text is one sentence for the user.

    `anybodys`: whoever asks is told so, by its registry or the net. Else it may be this job's own trouble, as too little memory is.
    """

    def __init__(self, text: str, *, anybodys: bool = False) -> None:
        super().__init__(text)
        self.anybodys = anybodys


def build(
    job: Job,
    target: Path,
    private: Path,
    stop: Stop,
    say: Say,
    secret: Dict[str, str],
    stalled: float = STALLED,
) -> None:
    """Fetch the image of a job and make the file `target` of it; `private` is a directory for apptainer's own files.

    `secret` are variables with the login to its registry. A conversion that does nothing for `stalled` seconds, such as one whose
    registry is silent, is ended and begun again.

    Raises
    ------
    ImageError
        When it cannot be fetched or converted.
    Stopped
        When an end was asked for.
    """
    careful = True
    attempt = 1
    while True:
        argv = arguments(job, target, careful=careful)
        text = _apptainer(argv, job, private, stop, secret, stalled)
        if text is None and target.is_file() and target.stat().st_size > 0:
            return
        text = text or "apptainer made no file"
        if careful and "mksquashfs-args" in text:
            careful = False  # Apptainer before 1.4 has no such option
            continue
        reason = _sentence(text)
        again = _AGAIN.search(text) is not None
        if attempt == _ATTEMPTS or not again:
            raise ImageError(
                f"the image {job.image.reference} could not be fetched or converted: {reason}",
                anybodys=again or _NEVER.search(text) is not None,
            )
        say(f"image: {reason}; attempt {attempt + 1}")
        stop.pause(2.0 * attempt)
        attempt += 1


def arguments(job: Job, target: Path, *, careful: bool) -> List[str]:
    """Return the command that makes a SIF file of the image.

    `build` does what `pull` does and takes arguments for mksquashfs, which else uses a quarter of
    the node's memory, not of the job's, and is killed for it in a small job. Level 1 of gzip takes
    half the time of the default 9 for 2 % more space.
    """
    words = [job.apptainer, "build", "--disable-cache", "--force"]
    if careful:
        megabytes = max(32, min(1024, (job.run_memory_mb or 128) // 3))
        level = "-comp gzip -Xcompression-level 1"
        words.append(f"--mksquashfs-args=-mem {megabytes}M -processors {job.cpus} {level}")
    if job.no_https:
        words.append("--no-https")
    return [*words, str(target), f"docker://{job.image.reference}"]


def _apptainer(
    argv: List[str], job: Job, private: Path, stop: Stop, secret: Dict[str, str], stalled: float
) -> Optional[str]:
    """Run the conversion; None when it worked, else what it said."""
    with (private / "log").open("w+b") as output:
        try:
            child = subprocess.Popen(
                argv,
                env={**host_environment(job, private), "GOMEMLIMIT": "96MiB", **secret},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=private,
                start_new_session=True,
            )
        except OSError as exc:
            raise ImageError(f"{job.apptainer} cannot be started: {exc.strerror}") from exc
        effort = Effort(child.pid, time.monotonic())
        try:
            pause = 0.01
            while child.poll() is None:
                stop.pause(pause)
                pause = min(0.1, pause * 1.5)
                if effort.none_for(stalled, time.monotonic()):
                    return f"apptainer did nothing for {stalled:.0f} s"
        finally:
            if child.poll() is None:
                kill_session(child.pid)
                child.wait()
        if child.returncode == 0:
            return None
        output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
        text = output.read().decode("utf-8", "replace")
        password = secret.get("APPTAINER_DOCKER_PASSWORD")
        if password:
            text = text.replace(password, "…")
        return redact(text.strip() or f"apptainer ended with status {child.returncode}")


def _sentence(text: str) -> str:
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("FATAL", "ERROR"))]
    said = re.sub(r"^(FATAL|ERROR):\s*", "", (fatal or lines)[-1])
    if "mksquashfs command failed: signal: killed" in said:
        return "the job's memory is too small to convert it (mksquashfs was killed)"
    return said[:500]
