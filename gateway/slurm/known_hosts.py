"""The hosts that are known by their keys: files as OpenSSH writes them, sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

_REVOKED = "@revoked"


@dataclass(frozen=True)
class HostKey:
    """A public key of a host: its type, such as `ssh-ed25519`, and itself in base64."""

    kind: str
    text: str

    @property
    def fingerprint(self) -> str:
        """The key as ssh shows it to people."""
        try:
            data = base64.b64decode(self.text, validate=True)
        except (ValueError, binascii.Error):
            return f"{self.kind}, but no key"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


def host_name(host: str, port: int) -> str:
    """Return the name under which a host is in the file."""
    return host if port == 22 else f"[{host}]:{port}"


def keys_of(text: str, name: str) -> list[HostKey]:
    """Return the keys that a host may show, in the order of the file; none of a host that is not known.

    Names may be hashed, or patterns. A revoked key is none. Lines of `@cert-authority` are left out: certificates of hosts
    are not read. Neither are lines of another form.
    """
    found: list[HostKey] = []
    revoked: set[str] = set()
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [_REVOKED]:
            if len(words) > 3 and _is_of(words[1], name):
                revoked.add(words[3])
        elif len(words) > 2 and not line.lstrip().startswith(("#", "@")) and _is_of(words[0], name):
            found.append(HostKey(words[1], words[2]))
    return [key for key in found if key.text not in revoked]


def _is_of(names: str, host: str) -> bool:
    found = False
    for name in names.split(","):
        if name.startswith("!") and _like(name[1:], host):
            return False
        found = found or _like(name, host)
    return found


def _like(pattern: str, host: str) -> bool:
    if pattern.startswith("|1|"):
        return _hashed(pattern, host)
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(text, host, re.IGNORECASE) is not None


def _hashed(pattern: str, host: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest)
        key = base64.b64decode(salt)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(key, host.lower().encode(), "sha1"), wanted)
