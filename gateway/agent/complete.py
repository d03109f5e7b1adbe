"""The end of a multipart upload: the POST that S3 may answer 200 with an error in the body."""

from __future__ import annotations

import hashlib
import re
from typing import Callable, Dict, Iterator, NamedTuple, Optional, Sequence

from .crc import Crc
from .mailbox import Stop
from .s3http import Line, Refused, Transient, error_code, persist, raise_for

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_ETAG = re.compile(rb"<ETag>([^<]{0,128})</ETag>")


class Expected(NamedTuple):
    """What the object must be: its ETag, and, where it is known, its CRC of that kind as S3 writes it."""

    etag: str
    crc: Crc
    value: Optional[str]


def part_list(etags: Sequence[str]) -> bytes:
    """Return the XML list of parts, of their ETags in order (S3, CompleteMultipartUpload)."""
    rows = "".join(
        f'<Part><PartNumber>{n}</PartNumber><ETag>"{etag}"</ETag></Part>'
        for n, etag in enumerate(etags, 1)
    )
    return f'<CompleteMultipartUpload xmlns="{_XMLNS}">{rows}</CompleteMultipartUpload>'.encode()


def etag_of(etags: Sequence[str]) -> str:
    """Return the ETag of the object that these parts make: the MD5 of their MD5s and `-N`.

    Raises
    ------
    Refused
        When one is no MD5.
    """
    try:
        md5s = b"".join(bytes.fromhex(etag) for etag in etags)
    except ValueError:
        raise Refused("S3 gives parts ETags that are no MD5s") from None
    return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _crc_in(answer: bytes, crc: Crc) -> Optional[str]:
    name = f"Checksum{crc.name}".encode()
    found = re.search(b"<" + name + rb">([A-Za-z0-9+/=]{1,32})</" + name + b">", answer)
    return None if found is None else found.group(1).decode()


def complete(
    line: Line,
    url: str,
    headers: Dict[str, str],
    etags: Sequence[str],
    expected: Expected,
    stop: Stop,
    what: str,
) -> None:
    """Put the parts together; the object must be the expected one, as far as S3 tells.

    Raises
    ------
    Denied, Refused, Transient
        As `gateway.agent.s3http` sorts them.
    """
    document = part_list(etags)
    body: Callable[[], Iterator[bytes]] = lambda: iter((document,))  # noqa: E731
    unclear = False

    def attempt() -> None:
        nonlocal unclear
        try:
            response = line.open("POST", url, headers, body, len(document))
            answer = line.finish(response, url)
        except Transient:
            unclear = True
            raise
        if response.status == 200 and b"<Error>" not in answer:
            found = _ETAG.search(answer)
            etag = "" if found is None else found.group(1).decode("ascii", "replace")
            etag = etag.replace("&quot;", "").replace("&#34;", "").strip('"')
            if found is None:
                unclear = True
                raise Transient("S3 completed an upload without an ETag")
            if etag != expected.etag:
                raise Refused(f"S3 has the ETag {etag[:64]!r} where {expected.etag!r} is right")
            told = _crc_in(answer, expected.crc)
            if None not in (told, expected.value) and told != expected.value:
                raise Refused(
                    f"S3 has the {expected.crc.name} {told!r} where {expected.value!r} is right"
                )
            return
        if unclear and error_code(answer) == "NoSuchUpload":
            return  # an earlier attempt whose answer was lost did it; the daemon looks at the object
        if response.status >= 500 or response.status == 200:
            unclear = True
        raise_for(
            500 if response.status == 200 and not error_code(answer) else response.status, answer
        )

    persist(attempt, stop, line.policy, what)
