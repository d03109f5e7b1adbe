"""Secrets of webhooks and what is signed with them, as https://www.standardwebhooks.com has it: there is a library for most languages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from gateway.errors import AppCode, GatewayError

_PREFIX = "whsec_"


def new_secret() -> str:
    """Make a secret of 256 bits."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER when it is none; what was given is never repeated.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            "secret: it must be whsec_ and 24 to 64 random bytes in base64; leave it out, and one is made.",
        )
    return key


def signature(key: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the header webhook-signature: the HMAC-SHA256 over id, timestamp (seconds since 1970) and body."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
