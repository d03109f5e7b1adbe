"""Serving the application on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from gateway.api.identity import PeerProtocol
from gateway.errors import ConfigError

_BACKLOG = 1024
_THREADS = 64  # requests that compute at one time; a slow client holds none
_LONGEST = 107  # bytes of a socket's path, unix(7)


class Server:
    """uvicorn on a Unix socket that every local user may connect to: the kernel says who they are.

    The socket listens from here on; who connects before `serve` waits in its queue.

    Raises
    ------
    ConfigError
        When the socket cannot be made, or a live daemon has it.
    """

    def __init__(self, app: FastAPI, path: Path) -> None:
        self._socket = _bind(path)
        self._path = path
        self._identity = _identity(path)
        config = uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=5,
        )
        self._server = _Uvicorn(config)

    @property
    def ready(self) -> bool:
        """Whether requests are being answered."""
        return self._server.started

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop`; returns after an orderly end, whatever asked for it."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            if _identity(self._path) == self._identity:  # else it is another daemon's by now
                self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask for an orderly end; from any thread."""
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn, but a signal that ended it is not raised again: that would kill the daemon before it has cleaned up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await super().startup(sockets)


def _bind(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > _LONGEST:
        raise ConfigError(
            f"api.socket: {path} is longer than the {_LONGEST} bytes that the path of a socket may have"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ConfigError(
                f"api.socket: anybody may replace files in {path.parent}; take the right to write from others: "
                f"chmod o-w {path.parent}"
            )
        if path.exists() or path.is_symlink():
            _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as exc:
        raise ConfigError(f"api.socket: cannot listen on {path}: {exc.strerror or exc}") from exc
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that is gone: the kernel refuses connections to it, and only to such a one."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ConfigError(
            f"api.socket: {path} is there and is no socket; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except (BlockingIOError, TimeoutError):
            pass  # its queue is full: somebody lives there
    raise ConfigError(f"api.socket: a daemon is listening on {path} already")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
