"""Names of objects and prefixes in S3 as users write them: `bucket/key`, `bucket/prefix/`, `store:bucket/key`.

Only syntax; whether something is there, and who may use it, is asked elsewhere. The rules are
those of the protocol's section "S3 paths".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from gateway.errors import AppCode, GatewayError

MAX_KEY_BYTES = 1024

_BUCKET = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}:)?[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_SHOWN = 200


@dataclass(frozen=True, order=True)
class S3Path:
    """An object (`key` is its key) or a prefix (`key` is empty or ends in one slash).

    `bucket` has the name of its store before it, `store:bucket`, where that is not found by the bucket (`gateway.s3.stores`).
    The constructor checks nothing: text of users goes through `parse_object` or `parse_prefix`.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    @property
    def basename(self) -> str:
        """The last segment of the key; empty for a prefix."""
        return self.key.rpartition("/")[2]


def parse_object(text: str) -> S3Path:
    """Read `bucket/key`, the name of one object.

    Raises
    ------
    GatewayError
        ILLEGAL_S3_PATH, with the path, the rule it breaks and what would be right.
    """
    bucket, key = _split(text)
    if not key:
        _refuse(text, "names a bucket alone", "add the object's key: bucket/key")
    _check_key(text, key)
    if key.endswith("/"):
        _refuse(
            text,
            "ends in a slash, so it is a prefix and no file can have its name",
            "name one object below it, or leave the slash out",
        )
    return S3Path(bucket, key)


def parse_prefix(text: str) -> S3Path:
    """Read `bucket` or `bucket/prefix`, with or without a closing slash.

    Returns
    -------
    S3Path
        Its key is empty or ends in exactly one slash.

    Raises
    ------
    GatewayError
        ILLEGAL_S3_PATH, as `parse_object`.
    """
    bucket, key = _split(text)
    if not key:
        return S3Path(bucket, "")
    if not key.endswith("/"):
        key += "/"
    _check_key(text, key)
    return S3Path(bucket, key)


def _split(text: str) -> tuple[str, str]:
    stripped = text.lstrip()
    if not stripped:
        _refuse(text, "is empty or white space", "write bucket/key")
    if stripped.startswith("/"):
        _refuse(text, "starts with a slash", "begin with the bucket: bucket/key")
    bucket, _, key = stripped.partition("/")
    if bucket.endswith(":"):
        _refuse(text, "starts with a scheme", "leave out s3:// and begin with the bucket")
    if not _BUCKET.fullmatch(bucket):
        _refuse(
            text,
            f"begins with {_show(bucket)}, which is no bucket name",
            "a bucket is 3 to 63 lower-case letters, digits and dashes, with no dash at either end",
        )
    return bucket, key


def _check_key(text: str, key: str) -> None:
    plain = key.isprintable() and "'" not in key and ";" not in key
    for position, char in enumerate("" if plain else key):
        # All of Unicode's category C (control, format, surrogate, private, unassigned), as the
        # original does: none of them can be told apart on a terminal, and surrogates are no UTF-8.
        if unicodedata.category(char)[0] == "C":
            _refuse(
                text,
                f"has the control character U+{ord(char):04X} at position {position} of its key",
                "use printable characters",
            )
        if char in "';":
            _refuse(
                text,
                f"has {char!r} at position {position} of its key",
                "keys with ' or ; are not taken; copy the object to another key",
            )
    size = len(key.encode("utf-8"))
    if size > MAX_KEY_BYTES:
        _refuse(
            text,
            f"has a key of {size} bytes",
            f"a key is at most {MAX_KEY_BYTES} bytes of UTF-8",
        )
    if "//" in key or key.startswith("/"):
        _refuse(text, 'has "//" in it', "put one slash between segments")
    for segment in key.split("/"):
        if segment in (".", ".."):
            _refuse(
                text,
                f'has the segment "{segment}" in its key',
                "name the object without . and .. segments",
            )


def _show(text: str) -> str:
    """Quote for an error: nothing unprintable, not too long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _refuse(text: str, rule: str, remedy: str) -> NoReturn:
    raise GatewayError(AppCode.ILLEGAL_S3_PATH, f"The S3 path {_show(text)} {rule}; {remedy}.")
