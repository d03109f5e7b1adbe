"""Where webhooks may point: hosts that the configuration names, and no other (the gateway is inside of a site's network)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import AppCode, GatewayError

_URL = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]{1,2000}", re.ASCII)
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Target:
    """A URL in its parts. What is connected to is this, so that no two readings of one text can differ."""

    tls: bool
    host: str
    port: int
    path: str


def target_of(url: str, allow_hosts: Sequence[str], *, allow_http: bool) -> Target:
    """Read the URL of a webhook.

    Parameters
    ----------
    allow_hosts
        `host` (at the usual port), `host:port`, `host:*` for any port; `*` for any host.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER, with the rule that it breaks.
    """
    if not _URL.fullmatch(url):
        raise _refused("has characters that no URL has, or a fragment; write https://host/path")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise _refused("cannot be read; write https://host/path") from None
    if parts.scheme not in ("https", *(["http"] if allow_http else [])):
        raise _refused(
            f"begins with {parts.scheme or 'no scheme'}; it must be https:// : events go over no line that others can read"
        )
    if not host:
        raise _refused("names no host; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise _refused("has a name or a password; leave them out: requests are signed")
    shown = f"[{host}]" if ":" in host else host
    number = port if port is not None else _PORTS[parts.scheme]
    mine = {"*", f"{shown}:{number}", f"{shown}:*"}
    if number == _PORTS[parts.scheme]:
        mine.add(shown)
    if not mine & {name.lower() for name in allow_hosts}:
        raise _refused(
            f"points at {shown}:{number}, which is not allowed here; the gateway's admins name hosts in webhooks.allow_hosts"
        )
    path = parts.path or "/"
    return Target(parts.scheme == "https", host, number, f"{path}?{parts.query}" if parts.query else path)  # fmt: skip


def _refused(rule: str) -> GatewayError:
    return GatewayError(AppCode.ILLEGAL_PARAMETER, f"url: it {rule}.")
