"""Reading the bodies of requests: none too large, and not too much of one user's at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from gateway.errors import AppCode, GatewayError

MAX_BODY = 32 << 20  # bytes; 10,000 input files of the longest names are some 15 MiB
_FILES = 4 << 20  # 500 files of the longest names, with the MD5s of 10,000 parts
_LETTER = 8 << 20  # what the mailbox takes of one request of a node
_SMALL = 256 << 10  # bytes of every other body: no other route takes more than a page
_MOST = {
    ("POST", "/jobs"): MAX_BODY,
    ("POST", "/files"): _FILES,
    ("POST", "/files/read"): _FILES,
}
_PER_USER = 4 * MAX_BODY


def bounded(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises HTTPException 413 past what the route at hand may take, whoever reads the body."""
    most = _LETTER if scope["path"].startswith("/node/") else _SMALL
    most = _MOST.get((scope["method"], scope["path"]), most)
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
            raise HTTPException(413, f"The body of this request may have {size}; send less.")
        return message

    return counted


class Bodies:
    """Bodies in memory, counted by user."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def read(self, request: Request, user: str) -> AsyncIterator[bytes]:
        """Read a body; it counts until the context ends.

        Raises
        ------
        HTTPException
            413 for one over `MAX_BODY`; where its length is told, before a byte of it is read.
        GatewayError
            RESOURCE_UNAVAILABLE when the user has four such bodies here already.
        """
        too_large = HTTPException(
            413, f"The body is over {MAX_BODY >> 20} MiB; split the work over several jobs."
        )
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY:
            raise too_large
        pieces: list[bytes] = []
        total = 0
        try:
            async for piece in request.stream():
                total += len(piece)
                self._held[user] += len(piece)
                if total > MAX_BODY:
                    raise too_large
                if self._held[user] > _PER_USER:
                    raise GatewayError(
                        AppCode.RESOURCE_UNAVAILABLE,
                        f"{user} is sending more than {_PER_USER >> 20} MiB at one time; send one request after the other.",
                    )
                pieces.append(piece)
            yield b"".join(pieces)
        finally:
            self._held[user] -= total
            if self._held[user] <= 0:
                del self._held[user]
