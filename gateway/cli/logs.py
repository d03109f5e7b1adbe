"""Reading a container's log, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.client import Client
from gateway.client.jobs import Stream

_PIECE = 1 << 20


def log_pieces(client: Client, job_id: str, number: int, stream: Stream) -> Iterator[bytes]:
    """Yield what there is of a log now."""
    seek = 0
    while True:
        piece, _ = client.log(job_id, number, stream, seek, _PIECE)
        if not piece:
            return
        yield piece
        seek += len(piece)
