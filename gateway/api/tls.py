"""The TCP listener: TLS alone, a certificate that is read anew when asked, and no more connections than it may have."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.api.attempts import network_of
from gateway.errors import ConfigError

log = structlog.get_logger()

_BACKLOG = 1024
_GOODBYE = 2.0  # seconds for the peer's close_notify
_STALLED = 300_000  # ms that a peer may leave what was sent unacknowledged, tcp(7) TCP_USER_TIMEOUT
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# Forward secrecy and AEAD alone, RFC 9325, 4.2; those of TLS 1.3 are all so.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True)
class Tls:
    """Where to listen, and the files of the certificate (with those between it and its CA) and of its key."""

    host: str
    port: int
    certificate: Path
    key: Path


class Listener:
    """Listens on all addresses of a host name, and shakes hands with those that connect.

    `handshake` is the time in seconds that a handshake may take. Until it is done a connection is not the HTTP
    protocol's yet, so `admit` is asked when it comes: whether that network has room, given its handshakes under way
    and those of all.

    Raises
    ------
    ConfigError
        When the address cannot be had, or certificate and key cannot be used.
    """

    def __init__(self, tls: Tls, handshake: float = 10.0) -> None:
        self._tls = tls
        self._handshake = handshake
        self._context = context_of(tls.certificate, tls.key)
        self._sockets = _bind(tls.host, tls.port)
        self._shaking: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ports(self) -> list[int]:
        """The ports, one for each address."""
        return [int(line.getsockname()[1]) for line in self._sockets]

    def reload(self) -> None:
        """Read certificate and key anew, for connections from now on; when they cannot be used the old ones stay."""
        try:
            self._context = context_of(self._tls.certificate, self._tls.key)
        except ConfigError as exc:
            log.error("tls.reload", error=str(exc), kept="the old certificate")
        else:
            log.info("tls.reload", certificate=str(self._tls.certificate))

    def start(
        self, make: Callable[[], asyncio.Protocol], admit: Callable[[str, int, int], bool]
    ) -> None:
        """Begin to accept, on the running event loop."""
        for line in self._sockets:
            self._spawn(self._accept(line, make, admit))

    async def stop(self) -> None:
        """Accept no more, and break handshakes off."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        for line in self._sockets:
            line.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        admit: Callable[[str, int, int], bool],
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                line, peer = await loop.sock_accept(listener)
            except OSError as exc:  # who connected may be gone again; or there are no more files
                if exc.errno in _FULL:
                    log.warning("tls.accept", error=str(exc))
                await asyncio.sleep(1.0 if exc.errno in _FULL else 0.05)
                continue
            network = network_of(peer[0])
            if not admit(network, self._shaking[network], self._shaking.total()):
                line.close()
                continue
            self._spawn(self._shake(line, network, make))

    async def _shake(
        self, line: socket.socket, network: str, make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._shaking[network] += 1
        try:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED)
            await asyncio.get_running_loop().connect_accepted_socket(
                make,
                line,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake,
                ssl_shutdown_timeout=_GOODBYE,
            )
        except (
            OSError
        ) as exc:  # no TLS, a version or a cipher that is not spoken here, an end, a time-out
            log.debug("tls.handshake", network=network, error=str(exc))
            line.close()
        finally:
            self._shaking[network] -= 1
            if self._shaking[network] <= 0:
                del self._shaking[network]


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make the server's side of TLS 1.2 and 1.3.

    Raises
    ------
    ConfigError
        When a file cannot be read, the key has a passphrase, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= (
        ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_alpn_protocols(["http/1.1"])
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as exc:
            raise ConfigError(f"api.{name}: cannot read {path}: {exc.strerror}") from exc
    try:
        # Without the function OpenSSL would ask for a passphrase on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as exc:
        reason = getattr(exc, "reason", None)
        why = {
            "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
            "NO_START_LINE": "one of them is no PEM file",
        }.get(str(reason), "a file is no PEM, or the key has a passphrase")
        raise ConfigError(
            f"api.tls_certificate {certificate} and api.tls_key {key} cannot be used: {why}"
        ) from exc
    return context


def _bind(host: str, port: int) -> list[socket.socket]:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            line = socket.socket(family, kind, protocol)
            made.append(line)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(address)
            line.listen(_BACKLOG)
            line.setblocking(False)
    except OSError as exc:
        for line in made:
            line.close()
        raise ConfigError(
            f"api.listen: cannot listen on {shown}: {exc.strerror or exc}; is the address this machine's, and the port free?"
        ) from exc
    return made
