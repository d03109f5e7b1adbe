"""A site's road to Slurm, as its settings choose it."""

from __future__ import annotations

from gateway.config import RestSection, SiteSection
from gateway.slurm.cli import CliBackend
from gateway.slurm.hands import Hands
from gateway.slurm.protocol import SlurmBackend
from gateway.slurm.rest import RestBackend
from gateway.slurm.slurmrestd import Slurmrestd
from gateway.slurm.tokens import Token, TokenCommand, TokenFile


def make_backend(section: SiteSection, hands: Hands) -> SlurmBackend:
    """Make the backend of a site; nothing is asked yet."""
    bin_dir = str(section.slurm_bin) if section.slurm_bin else None
    user, timeout = section.slurm_user, section.command_timeout_seconds
    if section.backend == "rest" and section.rest is not None and user is not None:
        ca_file = str(section.rest.ca_file) if section.rest.ca_file else None
        rest = Slurmrestd(section.rest.url, _token(section.rest, hands, timeout), user, ca_file)
        return RestBackend(rest, hands, bin_dir, user, timeout)
    return CliBackend(hands, bin_dir, user, timeout, section.backend)


def _token(section: RestSection, hands: Hands, timeout: float) -> Token | None:
    if section.token_file is not None:
        return TokenFile(section.token_file)
    if section.token_command:
        return TokenCommand(hands, section.token_command, timeout)
    return None
