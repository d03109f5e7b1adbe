"""What the daemon grants for outputs: one PUT each, or the PUTs of parts and the POST after them."""

from __future__ import annotations

import math
from typing import Dict, Mapping, NamedTuple, Optional
from urllib.parse import parse_qs, urlsplit

from .files import Fields
from .grants import usable_until


class Put(NamedTuple):
    """A presigned request: to be sent with exactly these headers."""

    url: str
    headers: Dict[str, str]


class Part(NamedTuple):
    """A part that S3 has: its size in bytes, and its ETag."""

    size: int
    etag: str


class Grant(NamedTuple):
    """One PUT, or the PUTs of parts (by number) and the POST that completes them; `there`: nothing needs to be sent.

    `has` are parts that an earlier attempt has sent; no part is begun with after `until`, on the monotonic clock.
    """

    put: Optional[Put]
    parts: Dict[int, Put]
    complete: Optional[Put]
    there: bool = False
    has: Mapping[int, Part] = {}
    until: float = math.inf

    @property
    def upload_id(self) -> Optional[str]:
        """Which multipart upload this is of."""
        if self.complete is None:
            return None
        found = parse_qs(urlsplit(self.complete.url).query).get("uploadId")
        return found[0] if found else None


def _put(fields: Fields) -> Put:
    return Put(fields.text("url"), fields.pairs("headers"))


def _has(multipart: Fields) -> Dict[int, Part]:
    return {
        part.whole("number"): Part(part.whole("size"), part.text("etag"))
        for part in multipart.each("there")
    }


def read_grants(answer: Fields) -> Dict[str, Grant]:
    """Return the grants of an answer by the output's path.

    Raises
    ------
    ContractError
        When the answer is not as docs/node-protocol.md says.
    """
    grants = {}
    until = usable_until(answer)
    for entry in answer.each("outputs"):
        single, multi = entry.inner_or_none("put"), entry.inner_or_none("multipart")
        grants[entry.text("path")] = Grant(
            put=None if single is None else _put(single),
            parts={}
            if multi is None
            else {p.whole("number"): _put(p) for p in multi.each("parts")},
            complete=None if multi is None else _put(multi.inner("complete")),
            there=entry.flag_or_false("there"),
            has={} if multi is None else _has(multi),
            until=until,
        )
    return grants
