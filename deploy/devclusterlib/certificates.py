"""A certificate authority of the cluster's own, and the certificate of the gateway's TLS listener."""

from __future__ import annotations

import shutil
from pathlib import Path

from devclusterlib.parts import must, quiet
from devclusterlib.settings import ClusterError

CA = Path("/etc/ssl/devcluster/ca.pem")
CERTIFICATE = Path("/etc/cts/tls.crt")
KEY = Path("/etc/cts/tls.key")
_CA_KEY = CA.with_suffix(".key")
_WEEK = str(7 * 86400)  # seconds
_CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def ensure() -> str | None:
    """Make what is missing or ends within a week; return what was done, None when nothing was.

    Raises
    ------
    ClusterError
        When openssl is missing or fails.
    """
    if all(_lasts(path) for path in (CA, CERTIFICATE)) and _belongs():
        return None
    CA.parent.mkdir(parents=True, exist_ok=True)
    config = CA.with_suffix(".cnf")
    config.write_text(_CONFIG)
    new = ["openssl", "req", "-x509", "-config", str(config), "-days", "365", "-nodes"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    must(
        *(*new, *key, "-extensions", "ca", "-subj", "/CN=dev cluster CA"),
        *("-keyout", str(_CA_KEY), "-out", str(CA)),
    )
    must(
        *(*new, *key, "-extensions", "server", "-subj", "/CN=dev cluster gateway"),
        *("-CA", str(CA), "-CAkey", str(_CA_KEY), "-keyout", str(KEY), "-out", str(CERTIFICATE)),
    )
    for path, user, mode in (
        (CA, "root", 0o644),
        (_CA_KEY, "root", 0o600),
        (CERTIFICATE, "ctsd", 0o644),
        (KEY, "ctsd", 0o600),
    ):
        shutil.chown(path, user, user)
        path.chmod(mode)
    return "a CA and a certificate"


def _lasts(path: Path) -> bool:
    return quiet("openssl", "x509", "-noout", "-checkend", _WEEK, "-in", str(path))


def _belongs() -> bool:
    """Tell whether the CA made the certificate, and the key is the certificate's: an earlier `up` may have been killed."""
    try:
        of_certificate = must("openssl", "x509", "-noout", "-pubkey", "-in", str(CERTIFICATE))
        of_key = must("openssl", "pkey", "-pubout", "-in", str(KEY))
    except ClusterError:
        return False
    return of_key == of_certificate and quiet(
        "openssl", "verify", "-CAfile", str(CA), str(CERTIFICATE)
    )
