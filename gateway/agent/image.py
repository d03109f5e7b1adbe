"""The image cache of the site: one SIF a digest, built once under a lock and renamed into place."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

from .files import Job, redact
from .mailbox import Stop
from .place import Place, remove_tree


class ImageError(Exception):
    """The image cannot be had; the text is for the user."""


def sif_path(job: Job) -> Path:
    """Return where the image of a job is in the cache."""
    return job.image_cache / (job.image.digest.replace(":", "-") + ".sif")


def small_environment(home: Path) -> Dict[str, str]:
    """Return the environment that apptainer itself gets: nothing of the node's."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
    }


def ensure_image(job: Job, place: Place, stop: Stop) -> Tuple[Path, bool]:
    """Return the SIF and whether it was in the cache; waits while another node builds it.

    The lock is the kernel's: it goes with its holder, however that ends.

    Raises
    ------
    ImageError
        When it cannot be pulled.
    Stopped
        When an end was asked for.
    """
    path = sif_path(job)
    if _use(path):
        return path, True
    job.image_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(str(path) + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                stop.pause(0.2)
        if _use(path):
            return path, True
        _pull(job, place, stop, path)
        return path, False
    finally:
        os.close(lock)


def _use(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _pull(job: Job, place: Place, stop: Stop, path: Path) -> None:
    for old in path.parent.glob(f".{path.name}.tmp-*"):
        old.unlink()  # of a holder of the lock that died
    part = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    place.pull.mkdir(mode=0o700, exist_ok=True)
    environment = small_environment(place.home)
    for name in ("cache", "tmp"):
        (place.pull / name).mkdir(mode=0o700, exist_ok=True)
        environment[f"APPTAINER_{name.upper()}DIR"] = str(place.pull / name)
    argv: List[str] = [job.apptainer, "pull"]
    if job.no_https:
        argv.append("--no-https")
    argv += [str(part), f"docker://{job.image.reference}"]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as exc:
        raise ImageError(f"{job.apptainer} cannot be run on this node: {exc.strerror}") from exc
    try:
        said = _communicate(process, stop)
    except BaseException:
        process.kill()
        process.wait()
        part.unlink(missing_ok=True)
        raise
    if process.returncode != 0 or not part.exists():
        part.unlink(missing_ok=True)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = redact(lines[-1])[-300:] if lines else f"exit code {process.returncode}"
        raise ImageError(f"the image {job.image.reference} could not be pulled: {last}")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(path)
    remove_tree(place.pull)


def _communicate(process: subprocess.Popen[bytes], stop: Stop) -> str:
    while True:
        try:
            return process.communicate(timeout=0.2)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            stop.check()
