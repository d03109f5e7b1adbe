"""A real SSH server for tests, in this process: it runs commands here, and breaks when the test wants it to."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import paramiko
from paramiko import common


class SshServer:
    """Listens on loopback; `key` may log in as `user`. What it does to a connection is set by its attributes."""

    def __init__(self, user: str, key: paramiko.PKey) -> None:
        self.user = user
        self.key = key
        self.host_key = paramiko.ECDSAKey.generate()
        self.more_keys: list[paramiko.PKey] = []
        self.greeting = b""  # printed before what a command prints
        self.logins = 0
        self.commands: list[str] = []
        self.forwarded: list[tuple[str, int]] = []
        self.silent = False  # nothing more comes through, and nothing is closed
        self.answers = True  # whether it speaks at all
        self._transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        _thread(self._accept)

    @property
    def known(self) -> str:
        """Its line in a known_hosts file."""
        return f"[127.0.0.1]:{self.port} {self.host_key.get_name()} {self.host_key.get_base64()}\n"

    def drop(self) -> None:
        """Cut all connections."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.answers:
                _thread(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        self._transports.append(transport)
        for key in (self.host_key, *self.more_keys):
            transport.add_server_key(key)
        with suppress(EOFError, OSError, paramiko.SSHException):
            transport.start_server(server=_Session(self))

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """Run a command for a client."""
        self.commands.append(command)
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if self.greeting:
            channel.sendall(self.greeting)
        outputs = [
            _thread(self._pump, process.stdout.read, channel.sendall),
            _thread(self._pump, process.stderr.read, channel.sendall_stderr),
        ]
        _thread(self._feed, channel, process.stdin)
        for each in outputs:
            each.join()
        process.stdout.close()
        process.stderr.close()
        with suppress(OSError, EOFError, paramiko.SSHException):
            channel.send_exit_status(process.wait())
            channel.close()

    def _feed(self, channel: paramiko.Channel, stdin: IO[bytes]) -> None:
        with suppress(OSError), stdin:
            self._pump(channel.recv, stdin.write)

    def forward(self, channel: paramiko.Channel, destination: tuple[str, int]) -> None:
        """Connect a client to somewhere else."""
        with socket.create_connection(destination) as other:
            _thread(self._pump, channel.recv, other.sendall)
            self._pump(other.recv, channel.sendall)
            channel.close()

    def _pump(self, read: Callable[[int], bytes], write: Callable[[bytes], Any]) -> None:
        with suppress(OSError, EOFError, ValueError, paramiko.SSHException):
            while data := read(65536):
                if not self.silent:
                    write(data)


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._server.logins += 1
        right = username == self._server.user and key == self._server.key
        return common.AUTH_SUCCESSFUL if right else common.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        _thread(self._server.run, channel, command.decode())
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self._server.forwarded.append(destination)
        if destination[1] == 1:
            return common.OPEN_FAILED_CONNECT_FAILED
        _thread(self._hop, destination)
        return common.OPEN_SUCCEEDED

    def _hop(self, destination: tuple[str, int]) -> None:
        for transport in self._server._transports:
            channel = transport.accept(5)
            if channel is not None:
                self._server.forward(channel, destination)


def _thread(target: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread
