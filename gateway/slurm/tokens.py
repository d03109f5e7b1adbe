"""Tokens for slurmrestd: JSON web tokens that Slurm makes (`scontrol token`), out of a file or by a command at the site.

A token goes into one header and nowhere else: no message, log, command line or configuration ever holds it.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gateway.errors import SiteError
from gateway.slurm.hands import Hands

_TOKEN = re.compile(r"(?:SLURM_JWT=)?([\w-]{1,2000}\.[\w-]{1,6000}\.[\w-]{1,2000})", re.ASCII)
_EARLY = 60.0  # seconds before its end that a token is made anew
_LONGEST = 8 << 10  # bytes
_FORM = "three parts with dots between them, as scontrol token gives them"


class Token(Protocol):
    """Where tokens come from; `origin` says it to people."""

    origin: str

    def get(self) -> str:
        """Return a token that works now, as far as can be told; SiteError where there is none."""

    def refused(self) -> None:
        """Note that Slurm did not accept the last one."""


class TokenFile:
    """A token that somebody else puts into a file, and replaces there before it ends; read anew each time."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.origin = str(path)
        self._path = path
        self._clock = clock

    def get(self) -> str:
        """See `Token.get`."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_LONGEST).decode("ascii", "replace")
        except OSError as exc:
            raise SiteError(f"cannot read the token for slurmrestd in {self._path}: {exc.strerror}") from exc  # fmt: skip
        token = _read(text, self.origin)
        end = ends(token)
        if end is not None and end <= self._clock():
            when = datetime.fromtimestamp(end, UTC)
            raise SiteError(
                f"the token for slurmrestd in {self.origin} ended at {when:%Y-%m-%d %H:%M:%S} UTC; put a new one there"
            )
        return token

    def refused(self) -> None:
        """See `Token.refused`."""


class TokenCommand:
    """Tokens that a command at the site makes, as the user of the jobs: one until shortly before its end."""

    def __init__(
        self,
        hands: Hands,
        command: Sequence[str],
        timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = " ".join(command)
        self._hands = hands
        self._command = command
        self._timeout = timeout
        self._clock = clock
        self._token: str | None = None
        self._until = 0.0

    def get(self) -> str:
        """See `Token.get`."""
        token = self._token
        if token is None or self._clock() >= self._until:
            token = self._make()
            end = ends(token)
            now = self._clock()
            # Without an end in it: as long as `scontrol token` gives by itself, half an hour.
            self._until = (end if end is not None else now + 1800) - _EARLY
            self._token = token
        return token

    def refused(self) -> None:
        """See `Token.refused`."""
        self._token = None

    def _make(self) -> str:
        done = self._hands.run(self._command, self._timeout)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            why = said[-1] if said else f"exit code {done.returncode}"
            raise SiteError(f"{self.origin} makes no token for slurmrestd: {why}")
        return _read(done.stdout, self.origin)


def _read(text: str, origin: str) -> str:
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise SiteError(f"what {origin} gives is no token for slurmrestd: it has {_FORM}")
    return match[1]


def ends(token: str) -> float | None:
    """Return when a token ends, in seconds since 1970; None where it does not say (RFC 7519, `exp`)."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
