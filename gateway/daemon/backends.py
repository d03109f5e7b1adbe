"""A site's road to Slurm, as its settings choose it."""

from __future__ import annotations

import os
import pwd
import sys
from functools import partial
from importlib.util import find_spec

import structlog

from gateway.config import RestSection, SiteSection
from gateway.errors import SiteError
from gateway.slurm.child import start_process
from gateway.slurm.cli import CliBackend
from gateway.slurm.hands import Hands
from gateway.slurm.protocol import SlurmBackend
from gateway.slurm.pyslurm import PyslurmBackend
from gateway.slurm.rest import RestBackend
from gateway.slurm.slurmrestd import Slurmrestd
from gateway.slurm.tokens import Token, TokenCommand, TokenFile

log = structlog.get_logger()


def make_backend(section: SiteSection, hands: Hands) -> SlurmBackend:
    """Make the backend of a site. Nothing is asked yet, but by `auto`: whether pyslurm works."""
    bin_dir = str(section.slurm_bin) if section.slurm_bin else None
    user, timeout = section.slurm_user, section.command_timeout_seconds
    if section.backend == "rest" and section.rest is not None and user is not None:
        ca_file = str(section.rest.ca_file) if section.rest.ca_file else None
        rest = Slurmrestd(section.rest.url, _token(section.rest, hands, timeout), user, ca_file)
        return RestBackend(rest, hands, bin_dir, user, timeout)
    if section.backend == "pyslurm":
        return _pyslurm(section, hands, bin_dir)
    if section.backend == "auto" and find_spec("pyslurm") is not None:
        found = _pyslurm(section, hands, bin_dir)
        try:
            found.check()
        except SiteError as exc:
            log.warning("pyslurm.not_used", error=str(exc))
            found.close()
        else:
            return found
    name = "ssh" if section.backend == "ssh" else "cli"
    return CliBackend(hands, bin_dir, user, timeout, name)


def _pyslurm(section: SiteSection, hands: Hands, bin_dir: str | None) -> PyslurmBackend:
    helper = section.helper or (sys.executable, "-m", "gateway.cli.helper")
    user = section.slurm_user or pwd.getpwuid(os.getuid()).pw_name
    start = partial(start_process, [*helper, "--pyslurm"])
    return PyslurmBackend(start, hands, bin_dir, user, section.command_timeout_seconds)


def _token(section: RestSection, hands: Hands, timeout: float) -> Token | None:
    if section.token_file is not None:
        return TokenFile(section.token_file)
    if section.token_command:
        return TokenCommand(hands, section.token_command, timeout)
    return None
