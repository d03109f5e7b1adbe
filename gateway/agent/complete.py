"""The end of a multipart upload: the POST that S3 may answer 200 with an error in the body."""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterator, Sequence

from .mailbox import Stop
from .s3http import Line, Refused, Transient, error_code, persist, raise_for

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_ETAG = re.compile(rb"<ETag>([^<]{0,128})</ETag>")


def part_list(parts: Sequence[bytes]) -> bytes:
    """Return the XML list of parts, of their MD5s in order (S3, CompleteMultipartUpload)."""
    rows = "".join(
        f'<Part><PartNumber>{n}</PartNumber><ETag>"{md5.hex()}"</ETag></Part>'
        for n, md5 in enumerate(parts, 1)
    )
    return f'<CompleteMultipartUpload xmlns="{_XMLNS}">{rows}</CompleteMultipartUpload>'.encode()


def complete(
    line: Line,
    url: str,
    headers: Dict[str, str],
    parts: Sequence[bytes],
    expected: str,
    stop: Stop,
    what: str,
) -> None:
    """Put the parts together; the object's ETag must be the expected one.

    Raises
    ------
    Denied, Refused, Transient
        As `gateway.agent.s3http` sorts them.
    """
    document = part_list(parts)
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
            if etag != expected:
                raise Refused(f"S3 has the ETag {etag[:64]!r} where {expected!r} is right")
            return
        if unclear and error_code(answer) == "NoSuchUpload":
            return  # an earlier attempt whose answer was lost did it; the daemon looks at the object
        if response.status >= 500 or response.status == 200:
            unclear = True
        raise_for(
            500 if response.status == 200 and not error_code(answer) else response.status, answer
        )

    persist(attempt, stop, line.policy, what)
