"""A connection to a site by SSH: who is at the other end, who we are, and what went wrong, in words that say what to do."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from typing import Any

import paramiko

from gateway.config import SshSection, jump_address
from gateway.errors import SiteError
from gateway.slurm.known_hosts import HostKey, host_name, keys_of

# It logs each trouble whole, from threads of its own; ours says it once, where it matters.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)
_RSA = {
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")
}  # RFC 8332: one kind of key, several signatures


class Link:
    """One connection, through the jump host where there is one. Keys and certificates are read for it: they are renewed."""

    def __init__(self, section: SshSection) -> None:
        self._section = section
        self._clients: list[paramiko.SSHClient] = []
        self._closed = False
        self._late = False
        self._attempt_over = False
        self._lock = threading.Lock()

    def run(self, command: str) -> paramiko.Channel:
        """Connect, and have the site's shell run a command on the one channel that there is.

        Raises
        ------
        SiteError
            When that is not done within `connect_seconds`, and why.
        """
        timer = threading.Timer(self._section.connect_seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            channel = self._connect().open_session(timeout=self._section.connect_seconds)
            channel.exec_command(command)
        except (SiteError, OSError, EOFError, ValueError, paramiko.SSHException) as exc:
            self._attempt_over = True
            self.close()
            if isinstance(exc, SiteError):
                raise
            raise SiteError(f"ssh: {self._where}: {self._told(exc)}") from exc
        finally:
            timer.cancel()
        self._attempt_over = True
        return channel

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as is known."""
        with self._lock:
            transports = [client.get_transport() for client in self._clients]
        return bool(transports) and all(
            each is not None and each.is_active() for each in transports
        )

    def close(self) -> None:
        """End it, or the attempt to make it. It raises nothing, whoever ends it at the same time."""
        with self._lock:
            self._closed = True
            clients = self._clients[::-1]
        for client in clients:
            transport = client.get_transport()
            # Its farewell through a jump host that has gone already does not get there.
            with suppress(OSError, EOFError, paramiko.SSHException):
                if transport is not None:
                    transport.close()
                if self._attempt_over:  # before, the client is at work in another thread
                    client.close()

    @property
    def _where(self) -> str:
        return f"{self._section.user}@{self._section.host}:{self._section.port}"

    def _give_up(self) -> None:
        self._late = True
        self.close()

    def _told(self, exc: Exception) -> str:
        if self._late or isinstance(exc, TimeoutError):
            return f"there was no connection within {self._section.connect_seconds:g} s"
        if isinstance(exc, paramiko.AuthenticationException):
            return self._refused()
        if isinstance(exc, EOFError):
            return "the other end closed the connection at once"
        return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__

    def _refused(self) -> str:
        section = self._section
        offered = [f"the key {section.key_file}"] if section.key_file else []
        offered += (
            [f"the certificate {section.certificate_file}"] if section.certificate_file else []
        )
        offered += ["the keys of the agent"] if section.agent else []
        return (
            f"the login was refused; offered: {', '.join(offered)}. See that the key is in the user's "
            "authorized_keys there, or that the certificate has not run out"
        )

    def _connect(self) -> paramiko.Transport:
        section = self._section
        key = _key(section)
        hop = None
        if section.jump is not None:
            user, host, port = jump_address(section.jump)
            jump = self._client(user or section.user, host, port, key, None)
            where = (section.host, section.port)
            try:
                hop = jump.open_channel("direct-tcpip", where, ("127.0.0.1", 0))
            except paramiko.ChannelException as exc:
                raise SiteError(
                    f"ssh: the jump host {section.jump} does not connect to {where[0]}:{where[1]}: {exc.text}"
                ) from exc
        return self._client(section.user, section.host, section.port, key, hop)

    def _client(
        self,
        user: str,
        host: str,
        port: int,
        key: paramiko.PKey | None,
        hop: paramiko.Channel | None,
    ) -> paramiko.Transport:
        client = paramiko.SSHClient()
        with self._lock:
            if self._closed:
                raise SiteError(f"ssh: {self._where}: the connection was given up")
            self._clients.append(client)
        seconds = self._section.connect_seconds
        check = _Check(self._section, host, port)
        client.set_missing_host_key_policy(check)
        client.connect(
            host,
            port,
            user,
            pkey=key,
            sock=hop,
            allow_agent=self._section.agent,
            look_for_keys=False,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            channel_timeout=seconds,
            transport_factory=check.transport,
        )
        transport = client.get_transport()
        if transport is None or self._closed:
            raise EOFError
        sock = transport.sock
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return transport


class _Check(paramiko.MissingHostKeyPolicy):
    """Whether a host is the one that it should be. paramiko itself knows none, so that it asks here about each."""

    def __init__(self, section: SshSection, host: str, port: int) -> None:
        self._file = section.known_hosts
        self._check = section.check_host_key
        self._host = host
        self._scan = host if port == 22 else f"-p {port} {host}"
        self._known = []
        if self._check:
            try:
                text = self._file.read_text(encoding="utf-8", errors="replace")
            except OSError as exc:
                raise SiteError(
                    f"ssh: cannot read known_hosts {self._file}: {exc.strerror}"
                ) from exc
            self._known = keys_of(text, host_name(host, port))

    def transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        """Make the transport, to which the host shows its key of a type that is known here, where it has one."""
        made = paramiko.Transport(sock, **options)
        known = [kind for key in self._known for kind in _RSA.get(key.kind, (key.kind,))]
        types = made.get_security_options().key_types
        first = [kind for kind in dict.fromkeys(known) if kind in types]
        made.get_security_options().key_types = (*first, *(t for t in types if t not in first))
        return made

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Refuse a host that is not known, or has another key."""
        shown = HostKey(key.get_name(), key.get_base64())
        if not self._check or shown in self._known:
            return
        if self._known:
            alike = [each for each in self._known if each.kind == shown.kind] or self._known
            raise SiteError(
                f"ssh: the host key of {hostname} has changed: it shows {shown.fingerprint}, and {self._file} has "
                f"{alike[0].fingerprint}. Ask the site's admins: where they changed it, replace the line; else somebody "
                "is in between, and nothing was sent"
            )
        raise SiteError(
            f"ssh: the host key of {hostname} is not known: it shows {shown.fingerprint}. Compare that with what the "
            f"site's admins say, and then add it: ssh-keyscan {self._scan} >> {self._file}"
        )


def _key(section: SshSection) -> paramiko.PKey | None:
    if section.key_file is None:
        return None
    try:
        key = paramiko.PKey.from_path(section.key_file)
    except OSError as exc:
        raise SiteError(f"ssh: cannot read the key {section.key_file}: {exc.strerror}") from exc
    except (TypeError, paramiko.PasswordRequiredException) as exc:
        raise SiteError(
            f"ssh: the key {section.key_file} has a passphrase: take one without, or an agent"
        ) from exc
    except (ValueError, paramiko.SSHException) as exc:
        raise SiteError(f"ssh: {section.key_file} is no private key: {exc}") from exc
    if section.certificate_file is not None:
        try:
            key.load_certificate(section.certificate_file.read_text(encoding="ascii"))
        except OSError as exc:
            what = f"cannot read the certificate {section.certificate_file}: {exc.strerror}"
            raise SiteError(f"ssh: {what}") from exc
        except (ValueError, IndexError, paramiko.SSHException) as exc:
            what = f"{section.certificate_file} is no certificate for {section.key_file}: {exc}"
            raise SiteError(f"ssh: {what}") from exc
    return key
