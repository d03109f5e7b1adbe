"""The image cache: a SIF file for each digest, converted once however many nodes want it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

from .container import host_environment
from .files import Job, redact
from .mailbox import Mailbox, NoAnswer, Stop
from .place import remove_tree
from .processes import kill_session

Say = Callable[[str], None]
Login = Callable[[], Dict[str, str]]
_POLL = 0.3
_ATTEMPTS = 3
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What a registry or the net says of trouble that may pass.
_AGAIN = re.compile(
    r"timeout|timed out|connection re|unexpected eof|temporary failure|toomanyrequests|"
    r"too many requests|\b(429|50[0234])\b|internal server error|unavailable|no such host",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ImageError(Exception):
    """The image cannot be had; the text is one sentence for the user."""


def sif_path(job: Job) -> Path:
    """Return where the image of a job is, or will be.

    Raises
    ------
    ImageError
        When the digest is none of SHA-256.
    """
    if not _DIGEST.fullmatch(job.image.digest):
        raise ImageError(f"the image digest {job.image.digest!r} is not sha256:<64 hex digits>")
    return job.image_cache / f"{job.image.digest.replace(':', '-')}.sif"


def login(mailbox: Mailbox, stop: Stop) -> Dict[str, str]:
    """Ask the daemon for the login to the registry of the job's image; return it as apptainer takes it.

    Returns
    -------
    dict
        Variables for the environment of that one process (apptainer-build(1)): neither a file nor an
        argument is left for anybody to read. Empty where there is no login.

    Raises
    ------
    ImageError
        With the daemon's text.
    Stopped
        When an end was asked for.
    """
    try:
        found = mailbox.ask("login", stop).inner_or_none("login")
    except NoAnswer as exc:
        raise ImageError(f"there is no login for the image's registry: {exc}") from exc
    if found is None:
        return {}
    return {
        "APPTAINER_DOCKER_USERNAME": found.text("username"),
        "APPTAINER_DOCKER_PASSWORD": found.text("password"),
    }


def ensure(job: Job, private: Path, stop: Stop, say: Say, ask: Login = dict) -> bool:
    """Have the image in the cache; return whether it was there already.

    `private` is a directory for apptainer's own files, removed after a conversion; `stop` ends the
    wait for the lock and the conversion; `say` takes log lines. `ask` is called for a login when the
    image must be fetched and its registry has one.

    Raises
    ------
    ImageError
        When it cannot be fetched or converted.
    Stopped
        When an end was asked for.
    """
    sif = sif_path(job)
    lock = -1
    try:
        if _touch(sif):
            return True
        job.image_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{sif}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locked = _lock(lock, sif, stop, say)
        # Whoever held the lock may have made it; a listing tells, over NFS, too.
        if sif.name in {entry.name for entry in job.image_cache.iterdir()} and _touch(sif):
            return True
        if locked:
            for left in job.image_cache.glob(f".{sif.name}.tmp-*"):
                left.unlink(missing_ok=True)  # of a holder of the lock that died
        _convert(job, sif, private, stop, say, ask)
    except OSError as exc:
        raise ImageError(f"the image cache {job.image_cache}: {exc.strerror}") from exc
    finally:
        if lock >= 0:
            os.close(lock)
    return False


def _touch(sif: Path) -> bool:
    # The times are seen by whoever removes what was not used for longest.
    try:
        if sif.stat().st_size == 0:
            return False
        os.utime(sif)
    except FileNotFoundError:
        return False
    except PermissionError:
        return sif.is_file()  # a cache that others fill
    return True


def _lock(lock: int, sif: Path, stop: Stop, say: Say) -> bool:
    # A lock of the kernel (fcntl(2)) falls with its holder, also when that dies.
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            if sif.exists():
                return False
            stop.pause(_POLL)
        except OSError as exc:
            # Converted twice perhaps, but never seen half.
            say(f"no lock on the image cache ({exc.strerror}); going on without")
            return False


def _convert(job: Job, sif: Path, private: Path, stop: Stop, say: Say, ask: Login) -> None:
    temporary = sif.with_name(f".{sif.name}.tmp-{os.uname().nodename}-{os.getpid()}")
    begin = time.monotonic()
    try:
        remove_tree(private)
        private.mkdir(mode=0o700)
        _build(job, temporary, private, stop, say, ask() if job.image.login else {})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o400)
        temporary.replace(sif)
    finally:
        temporary.unlink(missing_ok=True)
        remove_tree(private)
    say(f"image {job.image.digest} converted in {time.monotonic() - begin:.1f} s")


def _build(
    job: Job, target: Path, private: Path, stop: Stop, say: Say, secret: Dict[str, str]
) -> None:
    careful = True
    attempt = 1
    while True:
        text = _apptainer(arguments(job, target, careful=careful), job, private, stop, secret)
        if text is None and target.is_file() and target.stat().st_size > 0:
            return
        text = text or "apptainer made no file"
        if careful and "mksquashfs-args" in text:
            careful = False  # Apptainer before 1.4 has no such option
            continue
        reason = _sentence(text)
        if attempt == _ATTEMPTS or not _AGAIN.search(text):
            raise ImageError(
                f"the image {job.image.reference} could not be fetched or converted: {reason}"
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
    argv: List[str], job: Job, private: Path, stop: Stop, secret: Dict[str, str]
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
        try:
            pause = 0.01
            while child.poll() is None:
                stop.pause(pause)
                pause = min(0.1, pause * 1.5)
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
