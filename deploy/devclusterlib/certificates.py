"""Certificate authorities of the cluster's own: of the gateway's TLS listener, and, another one, of S3."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from devclusterlib.parts import must, quiet
from devclusterlib.settings import STORE_HOST, ClusterError

FOLDER = Path("/etc/ssl/devcluster")
CA = FOLDER / "ca.pem"
CERTIFICATE = Path("/etc/cts/tls.crt")
KEY = Path("/etc/cts/tls.key")
STORE_CA = FOLDER / "s3-ca.pem"
STORE_CERTIFICATE = FOLDER / "s3.crt"
STORE_KEY = FOLDER / "s3.key"
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
subjectAltName = {names}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class _Pair:
    """An authority, and the one certificate that it made."""

    ca: Path
    certificate: Path
    key: Path
    user: str
    names: str


_PAIRS = (
    _Pair(CA, CERTIFICATE, KEY, "ctsd", "IP:127.0.0.1,DNS:localhost"),
    _Pair(STORE_CA, STORE_CERTIFICATE, STORE_KEY, "root", f"DNS:{STORE_HOST},DNS:*.{STORE_HOST}"),
)


def ensure() -> str | None:
    """Make what is missing or ends within a week; return what was done, None when nothing was.

    Raises
    ------
    ClusterError
        When openssl is missing or fails.
    """
    made = [pair for pair in _PAIRS if not _is_good(pair)]
    for pair in made:
        _make(pair)
    return f"{len(made)} CAs, each with a certificate" if made else None


def _make(pair: _Pair) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    config, ca_key = pair.ca.with_suffix(".cnf"), pair.ca.with_suffix(".key")
    config.write_text(_CONFIG.format(names=pair.names))
    new = ["openssl", "req", "-x509", "-config", str(config), "-days", "365", "-nodes"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    must(
        *(*new, *key, "-extensions", "ca", "-subj", f"/CN=dev cluster {pair.ca.stem}"),
        *("-keyout", str(ca_key), "-out", str(pair.ca)),
    )
    must(
        *(*new, *key, "-extensions", "server", "-subj", "/CN=dev cluster"),
        *("-CA", str(pair.ca), "-CAkey", str(ca_key)),
        *("-keyout", str(pair.key), "-out", str(pair.certificate)),
    )
    for path, user, mode in (
        (pair.ca, "root", 0o644),
        (ca_key, "root", 0o600),
        (pair.certificate, pair.user, 0o644),
        (pair.key, pair.user, 0o600),
    ):
        shutil.chown(path, user, user)
        path.chmod(mode)


def _is_good(pair: _Pair) -> bool:
    return all(_lasts(path) for path in (pair.ca, pair.certificate)) and _belongs(pair)


def _lasts(path: Path) -> bool:
    return quiet("openssl", "x509", "-noout", "-checkend", _WEEK, "-in", str(path))


def _belongs(pair: _Pair) -> bool:
    """Tell whether the CA made the certificate, and the key is the certificate's: an earlier `up` may have been killed."""
    try:
        of_certificate = must("openssl", "x509", "-noout", "-pubkey", "-in", str(pair.certificate))
        of_key = must("openssl", "pkey", "-pubout", "-in", str(pair.key))
    except ClusterError:
        return False
    return of_key == of_certificate and quiet(
        "openssl", "verify", "-CAfile", str(pair.ca), str(pair.certificate)
    )
