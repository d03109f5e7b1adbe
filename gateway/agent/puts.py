"""What the daemon grants for outputs: one PUT each, or the PUTs of parts and the POST after them."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional
from urllib.parse import parse_qs, urlsplit

from .files import Fields


class Put(NamedTuple):
    """A presigned request: to be sent with exactly these headers."""

    url: str
    headers: Dict[str, str]


class Grant(NamedTuple):
    """One PUT, or the PUTs of parts (by number) and the POST that completes them; `there`: nothing needs to be sent."""

    put: Optional[Put]
    parts: Dict[int, Put]
    complete: Optional[Put]
    there: bool = False

    @property
    def upload_id(self) -> Optional[str]:
        """Which multipart upload this is of."""
        if self.complete is None:
            return None
        found = parse_qs(urlsplit(self.complete.url).query).get("uploadId")
        return found[0] if found else None


def _put(fields: Fields) -> Put:
    return Put(fields.text("url"), fields.pairs("headers"))


def read_grants(answer: Fields) -> Dict[str, Grant]:
    """Return the grants of an answer by the output's path.

    Raises
    ------
    ContractError
        When the answer is not as docs/node-protocol.md says.
    """
    grants = {}
    for entry in answer.each("outputs"):
        single, multi = entry.inner_or_none("put"), entry.inner_or_none("multipart")
        grants[entry.text("path")] = Grant(
            put=None if single is None else _put(single),
            parts={}
            if multi is None
            else {p.whole("number"): _put(p) for p in multi.each("parts")},
            complete=None if multi is None else _put(multi.inner("complete")),
            there=entry.flag_or_false("there"),
        )
    return grants
