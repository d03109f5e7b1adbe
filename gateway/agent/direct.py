"""Asking the daemon over TLS: the same request as by the mailbox, with the job's token, and the answer at once.

Whatever goes wrong on this road is no error: the mailbox is asked instead, and this again after a while.
"""

from __future__ import annotations

import json
import sys
from typing import Mapping, Optional
from urllib.parse import urlsplit

from .files import Clock, ContractError, Fields, Road, parse_fields, redact

_TIMEOUT = 30.0  # seconds without a byte
_MOST = 64 << 20  # bytes of an answer
_REST_SECONDS = 60.0


class Direct:
    """The daemon as nodes of a job reach it. Thread-safe."""

    def __init__(self, road: Road, job_id: int, token: str, clock: Clock) -> None:
        self._road = road
        self._job_id = job_id
        self._token = token
        self._clock = clock
        self._not_before = clock()

    def ask(self, document: Mapping[str, object]) -> Optional[Fields]:
        """Return the answer to a request; None where there is none by this road."""
        if self._clock() < self._not_before:
            return None
        import http.client  # noqa: PLC0415 - slow to import, and of no use at most sites

        try:
            return self._ask(json.dumps(document).encode())
        except (OSError, http.client.HTTPException, ContractError) as exc:
            self._not_before = self._clock() + _REST_SECONDS
            said = redact(f"{self._road.url}: {type(exc).__name__}: {exc}")
            print(f"the mailbox is asked, not {said}"[:500], file=sys.stderr, flush=True)
            return None

    def _ask(self, body: bytes) -> Fields:
        import http.client  # noqa: PLC0415
        import ssl  # noqa: PLC0415

        where = urlsplit(self._road.url)
        context = ssl.create_default_context(cafile=self._road.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        line = http.client.HTTPSConnection(
            where.hostname or "", where.port or 443, timeout=_TIMEOUT, context=context
        )
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        try:
            line.request("POST", f"/node/{self._job_id}/requests", body, headers)
            response = line.getresponse()
            answer = response.read(_MOST + 1)
        finally:
            line.close()
        if response.status != 200:
            raise ContractError(f"status {response.status}")
        if len(answer) > _MOST:
            raise ContractError(f"an answer of over {_MOST >> 20} MiB")
        return parse_fields(answer, "the answer")
