"""What kinds of archive there are, and what reference data is called on a site's disk."""

from __future__ import annotations

import hashlib

from gateway.errors import AppCode, GatewayError
from gateway.store.tables import Refdata

# The longer endings first: a .tar.gz is no .gz.
_KINDS = (
    (".tar.gz", "tar.gz"),
    (".tgz", "tar.gz"),
    (".tar.zst", "tar.zst"),
    (".tar", "tar"),
    (".zip", "zip"),
    (".gz", "gz"),
)
ENDINGS = tuple(ending for ending, _ in _KINDS)


def kind_of(key: str, *, unpack: bool) -> str:
    """Return the kind of an archive by its key: tar, tar.gz, tar.zst, zip, gz; `file` for what is not unpacked.

    Raises
    ------
    GatewayError
        ILLEGAL_PARAMETER when it is to be unpacked and its ending is none that is known.
    """
    if not unpack:
        return "file"
    name = key.rpartition("/")[2].lower()
    for ending, kind in _KINDS:
        if name.endswith(ending):
            return kind
    raise GatewayError(
        AppCode.ILLEGAL_PARAMETER,
        f"unpack: {key[:200]!r} ends in none of {', '.join(ENDINGS)}, so there is nothing known that unpacks it; "
        "register it without unpack, or store it as one of these.",
    )


def file_name(key: str, kind: str) -> str:
    """Return what the one file of data that is no archive of several is called: for .gz without that ending."""
    name = key.rpartition("/")[2]
    return name[:-3] if kind == "gz" else name


def directory_name(row: Refdata) -> str:
    """Return the name of its directory at every site.

    The number alone would mean other data after a database that was lost; with the hash it never does.
    """
    what = f"{row.bucket}/{row.key}\0{row.etag}\0{row.number}\0{row.unpack}"
    return f"{row.id}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
