"""The image cache: a SIF file for each digest, converted once however many nodes want it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Optional

from .files import Job, Say
from .image_build import ImageError, build
from .image_note import Found, look, settle, sha256, write_note
from .mailbox import Mailbox, NoAnswer, Stop
from .place import remove_tree

if TYPE_CHECKING:
    from .image_lease import Leases

Login = Callable[[], Dict[str, str]]
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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


def ensure(
    job: Job,
    private: Path,
    stop: Stop,
    say: Say,
    ask: Login = dict,
    leases: Optional[Leases] = None,
) -> bool:
    """Have the image in the cache, as it was converted; return whether it was there already.

    `private` is a directory for apptainer's own files, removed after a conversion; `stop` ends the
    wait for the lease and the conversion; `say` takes log lines. `ask` is called for a login when the
    image must be fetched and its registry has one. `leases` are those of the image, where they are not as usual.

    Raises
    ------
    ImageError
        When it cannot be fetched or converted.
    Stopped
        When an end was asked for.
    """
    sif = sif_path(job)
    try:
        if look(sif) is Found.GOOD:
            return True
        if leases is None:
            from .image_lease import Leases  # noqa: PLC0415 - of use once

            leases = Leases(sif)
        job.image_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _have(job, sif, private, stop, say, ask, leases)
    except OSError as exc:
        raise ImageError(f"the image cache {job.image_cache}: {exc.strerror}") from exc


def _have(
    job: Job, sif: Path, private: Path, stop: Stop, say: Say, ask: Login, leases: Leases
) -> bool:
    """Have the image, by a lease on it or by whoever has that; return as `ensure`."""
    from .image_failed import Failures, Told  # noqa: PLC0415 - of use once

    failures = Failures(sif, job.job_id, say)

    def done() -> bool:
        found = look(sif) is Found.GOOD
        if not found:
            failures.check()
        return found

    while True:
        lease = leases.take(done, stop, say)
        if lease is None:
            return True
        try:
            failures.check()  # one may have come in just before the lease was free
            if settle(sif, job.image.reference, stop, say) is Found.GOOD:
                return True
            if _convert(job, sif, private, stop, say, ask):
                failures.forget()
                return False
        except (ImageError, OSError) as exc:
            # Who was taken for dead, and was not, may have lost the file that it made to who came after it.
            if not lease.lost:
                if isinstance(exc, ImageError) and not isinstance(exc, Told):
                    failures.note(exc)
                raise
            say("image: somebody else has taken the conversion over")
        finally:
            lease.release()


def _convert(job: Job, sif: Path, private: Path, stop: Stop, say: Say, ask: Login) -> bool:
    """Make the image; tell whether it is ours that is in the cache now."""
    temporary = sif.with_name(f".{sif.name}.tmp-{os.uname().nodename}-{os.getpid()}")
    begin = time.monotonic()
    try:
        remove_tree(private)
        private.mkdir(mode=0o700)
        build(job, temporary, private, stop, say, ask() if job.image.login else {})
        digest = sha256(temporary, stop)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o400)
        if not _publish(temporary, sif):
            return False
        write_note(sif, job.image.reference, digest)
    finally:
        temporary.unlink(missing_ok=True)
        remove_tree(private)
    say(f"image {job.image.digest} converted in {time.monotonic() - begin:.1f} s")
    return True


def _publish(temporary: Path, sif: Path) -> bool:
    # One that is there stays: containers may run from it, and over NFS they lose a file that another takes the place of.
    try:
        os.link(temporary, sif)
    except FileExistsError:
        return temporary.stat().st_nlink == 2  # ours, where the server's first answer was lost
    except OSError:  # a file system without hard links
        temporary.replace(sif)
    return True
