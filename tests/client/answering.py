"""A server that gives canned bytes for an answer, whatever it is asked."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def answering(*answers: bytes, seen: list[bytes] | None = None) -> Iterator[str]:
    """Serve on a socket whose path is given: the first connection gets the first answer, the last one serves for the rest.

    An empty answer closes the connection without a word. `seen` gets what each asked.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cts-raw-") as directory,
        socket.socket(socket.AF_UNIX) as server,
    ):
        path = str(Path(directory) / "raw.sock")
        server.bind(path)
        server.listen()

        def serve() -> None:
            left = list(answers)
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    with line, suppress(OSError):
                        asked = line.recv(1 << 20)
                        if seen is not None:
                            seen.append(asked)
                        line.sendall(left.pop(0) if len(left) > 1 else left[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
