"""Serving the application on a Unix socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway.api.identity import PeerProtocol
from gateway.errors import ConfigError


class Server:
    """uvicorn on a Unix socket that every local user may connect to: the kernel says who they are.

    Raises
    ------
    ConfigError
        When the socket cannot be made, or a live daemon has it.
    """

    def __init__(self, app: FastAPI, path: Path) -> None:
        self._socket = _bind(path)
        self._path = path
        config = uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            backlog=1024,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop`."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._server.should_exit = True


def _bind(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ConfigError(
                    f"api.socket: {path} is there and is no socket; remove it or choose another path"
                )
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    path.unlink()
                else:
                    raise ConfigError(f"api.socket: a daemon is listening on {path} already")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError as exc:
        raise ConfigError(f"api.socket: cannot listen on {path}: {exc.strerror}") from exc
    return listener
