"""Serving the application on a Unix socket, and over TLS where that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from gateway.api.connections import Limits, PeerProtocol, close_oldest_idle, protocol_with
from gateway.api.streams import Streams
from gateway.api.tls import Listener, Tls
from gateway.errors import ConfigError

_BACKLOG = 1024
_THREADS = 64  # requests that compute at one time; a slow client holds none
_LONGEST = 107  # bytes of a socket's path, unix(7)
_FILES = 65536  # open files that the daemon asks the system for


class Server:
    """uvicorn on a Unix socket that every local user may connect to: the kernel says who they are. And with `tls` on TCP.

    The sockets listen from here on; who connects before `serve` waits in their queue. The process may open more files
    afterwards, as far as the system lets it; no user's connections take more than a quarter of them, and all over
    TCP together another.

    Raises
    ------
    ConfigError
        When the socket cannot be made, or a live daemon has it; when the address of `tls` cannot be had or its
        certificate cannot be used.
    """

    def __init__(
        self, app: FastAPI, path: Path, limits: Limits | None = None, tls: Tls | None = None
    ) -> None:
        limits = limits or _limits(_open_files())
        self._socket = _bind(path)
        try:
            self.listener = Listener(tls, limits.handshake) if tls is not None else None
        except ConfigError:
            self._socket.close()
            path.unlink(missing_ok=True)
            raise
        self._path = path
        self._identity = _identity(path)
        config = uvicorn.Config(
            app,
            http=protocol_with(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whoever is local could else give any address for theirs
            timeout_keep_alive=30,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=5,
        )
        # An application without events has none.
        streams = getattr(app.state, "streams", None) or Streams()
        self._server = _Uvicorn(config, limits, self.listener, streams)
        _log_as_everything_else()

    @property
    def ready(self) -> bool:
        """Whether requests are being answered."""
        return self._server.started

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return len(self._server.server_state.tasks)

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop`; returns after an orderly end, whatever asked for it."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            if self.listener is not None:
                self.listener.close()
            if _identity(self._path) == self._identity:  # else it is another daemon's by now
                self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask for an orderly end; from any thread."""
        self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn, with a listener of our own beside its sockets.

    A signal that ended it is not raised again: that would kill the daemon before it has cleaned up. SIGHUP has the
    certificate read anew, and where there is none it does nothing.
    """

    def __init__(
        self, config: uvicorn.Config, limits: Limits, listener: Listener | None, streams: Streams
    ) -> None:
        super().__init__(config)
        self._streams = streams
        self._limits = limits
        self._listener = listener

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
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            # On the loop and not in the handler of the signal: what it interrupts may hold the log's lock.
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        await super().startup(sockets)
        if self._listener is not None:
            self._listener.start(self._protocol, self._admit)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        if self._listener is not None:
            await self._listener.stop()
        await super().shutdown(sockets)

    def _reload(self) -> None:
        if self._listener is not None:
            self._listener.reload()

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _admit(self, network: str, shaking: int, shaking_of_all: int) -> bool:
        """Say whether one more connection over TCP may begin its handshake."""
        if shaking >= max(4, self._limits.per_network // 4):
            return False
        there = [
            one
            for one in self.server_state.connections
            if isinstance(one, PeerProtocol) and one.over_tcp
        ]
        return len(there) + shaking_of_all < self._limits.tcp or close_oldest_idle(there)


class _Structlog(logging.Handler):
    """What uvicorn says (no HTTP, a request cut short) goes where all else goes, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        trouble = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(
            record.levelno, "api.http", detail=record.getMessage().strip(), **trouble
        )


def _log_as_everything_else() -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [_Structlog(logging.WARNING)]
    logger.propagate = False


def _limits(files: int) -> Limits:
    tcp = min(4096, files // 4)
    return Limits(
        per_user=min(1024, files // 4), per_network=min(256, max(1, tcp // 4)), tcp=max(4, tcp)
    )


def _open_files() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < more:
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        return more
    return more if soft == resource.RLIM_INFINITY else soft


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
