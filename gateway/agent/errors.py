"""The errors a phase can end with, and the one place where texts are freed of secrets."""

from __future__ import annotations

import errno
import re

_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*")


class PhaseFailed(Exception):
    """A phase cannot succeed; `str()` is one sentence for the user.

    Parameters
    ----------
    outcome
        An outcome of result.json (docs/node-protocol.md), e.g. ``stage-in-failed``.
    message
        The sentence. Queries of URLs, which hold signatures, are cut out of it.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(redact(message))
        self.outcome = outcome


class Stopped(Exception):
    """The phase was told to end; `reason` is ``timeout`` or ``canceled``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProtocolError(Exception):
    """A file that the daemon wrote is not what docs/node-protocol.md says."""


def redact(text: str) -> str:
    """Return `text` with the query of every URL in it cut off."""
    return _QUERY.sub(r"\1", text)


def disk_error(exc: OSError, what: str) -> str:
    """Return a sentence for an error of the file system while doing `what`."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full (or a quota is used up) while {what}"
    return f"{exc.strerror or exc} while {what}"
