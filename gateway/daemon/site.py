"""A site as the daemon holds it: its settings, its hands, its Slurm, its paths."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

import gateway.agent
from gateway.config import SiteSection
from gateway.daemon.backends import make_backend
from gateway.errors import SiteError
from gateway.jobs.waits import Wait
from gateway.slurm.hands import Hands, LocalHands
from gateway.slurm.helper import HelperHands, SpokenHands
from gateway.slurm.protocol import Limits, SlurmBackend
from gateway.slurm.ssh import SshHands
from gateway.slurm.submit_limits import SubmitLimits, read_submit_limits

log = structlog.get_logger()
_LIMITS_KEPT, _LIMITS_PATIENCE = 600.0, 15.0  # seconds
_MAIN = b"from ctsagent.main import main\n\nraise SystemExit(main())\n"


@dataclass
class Site:
    """One Slurm cluster. The events wake its loops before their time."""

    name: str
    section: SiteSection
    hands: Hands
    backend: SlurmBackend
    submit_wake: threading.Event = field(default_factory=threading.Event)
    poll_wake: threading.Event = field(default_factory=threading.Event)
    mail_wake: threading.Event = field(default_factory=threading.Event)
    skip_wake: threading.Event = field(default_factory=threading.Event)
    inputs_wake: threading.Event = field(default_factory=threading.Event)
    clean_wake: threading.Event = field(default_factory=threading.Event)
    log_wake: threading.Event = field(default_factory=threading.Event)
    refdata_wake: threading.Event = field(default_factory=threading.Event)
    images_wake: threading.Event = field(default_factory=threading.Event)
    look_wake: threading.Event = field(default_factory=threading.Event)
    waits: Mapping[int, Wait] = field(
        default_factory=dict
    )  # by job, as the last look at Slurm has it
    # Held while files of a job are written for a submission, or cleaned away: a restart must not lose what was just written.
    files_lock: threading.Lock = field(default_factory=threading.Lock)
    _limits: Limits | None = None
    _submit_limits: tuple[float, SubmitLimits] = (-_LIMITS_KEPT, SubmitLimits())
    _agent: str | None = None

    @property
    def work(self) -> str:
        """The work directory."""
        return str(self.section.work_dir)

    @property
    def mailbox(self) -> str:
        """Where the nodes leave their requests."""
        return f"{self.work}/mailbox"

    @property
    def refdata_dir(self) -> str:
        """Where reference data is, a directory each."""
        return f"{self.work}/refdata"

    def job_dir(self, job_id: int) -> str:
        """Directory of a job."""
        return f"{self.work}/jobs/{job_id}"

    def container_dir(self, job_id: int, index: int) -> str:
        """Directory of a container."""
        return f"{self.job_dir(job_id)}/{index}"

    def limits(self, *, fresh: bool = False) -> Limits:
        """Slurm's limits, looked up once a run of the daemon, and again when `fresh` ones are asked for."""
        if self._limits is None or fresh:
            self._limits = self.backend.limits()
        return self._limits

    def submit_limits(self) -> SubmitLimits:
        """How much Slurm takes, looked up every ten minutes; nothing is limited while that is not known."""
        read, limits = self._submit_limits
        if time.monotonic() - read >= _LIMITS_KEPT:
            try:
                limits = read_submit_limits(
                    self.hands,
                    str(self.section.slurm_bin) if self.section.slurm_bin else None,
                    self.section.slurm_user,
                    min(self.section.command_timeout_seconds, _LIMITS_PATIENCE),
                )
            except SiteError as exc:
                log.warning("limits.unknown", site=self.name, error=str(exc))
            self._submit_limits = time.monotonic(), limits
        return limits

    def known_limits(self) -> SubmitLimits:
        """Return what was last looked up, at once."""
        return self._submit_limits[1]

    def agent(self, *, fresh: bool = False) -> str:
        """Put the node agent into the work directory, once for each version of it; return its directory.

        A `fresh` look sees whether it is still there: the work directory may be another one now, or have been purged.
        """
        if fresh and self._agent is not None and self.hands.size(f"{self._agent}/complete") is None:
            self._agent = None
        if self._agent is None:
            files = {f"ctsagent/{path.name}": path.read_bytes() for path in _agent_sources()}
            files["__main__.py"] = _MAIN
            digest = hashlib.sha256()
            for name, data in sorted(files.items()):
                digest.update(f"{name}\0{len(data)}\0".encode() + data)
            directory = f"{self.work}/agent/{digest.hexdigest()[:16]}"
            if self.hands.size(f"{directory}/complete") is None:
                self.hands.write_files(
                    [(f"{directory}/{name}", data) for name, data in files.items()]
                )
                self.hands.write_files([(f"{directory}/complete", b"")])
                self.hands.write_files([(f"{self.mailbox}/.keep", b"")])
            self._agent = directory
        return self._agent

    def close(self) -> None:
        """End the helper, and the connection, or give the work directory's lock back."""
        if isinstance(self.hands, SpokenHands | LocalHands):
            self.hands.close()
        self.backend.close()


def _agent_sources() -> list[Path]:
    return sorted(Path(gateway.agent.__path__[0]).glob("*.py"))


def make_site(name: str, section: SiteSection, *, exclusive: bool = True) -> Site:
    """Build a site from its settings; one that is not `exclusive` leaves the work directory's lock to a daemon.

    Raises
    ------
    SiteError
        When its work directory cannot be used.
    """
    hands: Hands
    if section.ssh is not None and section.backend == "ssh":
        python, work_dir = str(section.python), str(section.work_dir)
        hands = SshHands(section.ssh, python, work_dir, exclusive=exclusive)
    elif section.helper:
        hands = HelperHands(section.helper, str(section.work_dir), exclusive=exclusive)
    else:
        hands = LocalHands(str(section.work_dir), exclusive=exclusive)
    return Site(name, section, hands, make_backend(section, hands))
