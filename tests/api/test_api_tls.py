"""The TLS listener as bytes on the line: what it speaks, what it does not, and who may hold it up."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.api.connections import Limits
from gateway.api.server import Server
from gateway.api.tls import Tls, context_of
from gateway.errors import ConfigError
from tests.api.certificates import Authority
from tests.api.gateway_fake import ME, FakeGateway, until

HUNG_UP = r"(?i)EOF|protocol.version|handshake.failure"  # what the server did, not this side
UPLOAD = (
    b"POST /jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: 500\r\n\r\n"
)


def client_context(authority: Authority) -> ssl.SSLContext:
    """TLS as a client of today speaks it."""
    return ssl.create_default_context(cafile=str(authority.ca))


def plain(fake: FakeGateway) -> socket.socket:
    """Connect without TLS."""
    line = socket.create_connection(("127.0.0.1", fake.port))
    line.settimeout(20)
    return line


def connect(fake: FakeGateway, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """Connect with TLS."""
    context = context or client_context(fake.authority)
    return context.wrap_socket(plain(fake), server_hostname="127.0.0.1")


def everything(line: socket.socket) -> bytes:
    """Read to the end; that of a connection which is reset is one, too."""
    received = b""
    with suppress(OSError):
        while piece := line.recv(65536):
            received += piece
    return received


def ask(line: socket.socket, path: str, token: str = "") -> bytes:
    """Ask on a connection, which is closed with the answer."""
    header = f"Authorization: Bearer {token}\r\n" if token else ""
    line.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n".encode())
    return everything(line)


def weak(version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    """TLS of one version alone, with ciphers that OpenSSL would not offer by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(fake: FakeGateway, version: ssl.TLSVersion) -> None:
    context = client_context(fake.authority)
    context.minimum_version = context.maximum_version = version
    with connect(fake, context) as line:
        assert line.version() == version.name.replace("TLSv1_", "TLSv1.")
        assert ask(line, "/health").endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(fake: FakeGateway, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match=HUNG_UP):
        connect(fake, weak(version))
    assert connect(fake, weak(ssl.TLSVersion.TLSv1_2)).version() == "TLSv1.2"


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_authenticated_encryption_are_refused(
    fake: FakeGateway, ciphers: str
) -> None:
    with pytest.raises(ssl.SSLError, match=HUNG_UP):
        connect(fake, weak(ssl.TLSVersion.TLSv1_2, f"{ciphers}:@SECLEVEL=0"))


def test_a_client_does_not_renegotiate_and_nothing_is_compressed() -> None:
    with tempfile.TemporaryDirectory() as directory:
        context = context_of(*Authority(Path(directory)).issue())
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_that_offers_http_2_gets_http_1_1(fake: FakeGateway) -> None:
    context = client_context(fake.authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(fake, context) as line:
        assert line.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00" * 5000,
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70000,
        b"SSH-2.0-x\r\n",
        os.urandom(2000),
    ],
    ids=["http", "zeros", "record", "ssh", "noise"],
)
def test_what_is_no_tls_is_hung_up_on_and_nothing_breaks(fake: FakeGateway, data: bytes) -> None:
    with plain(fake) as line:
        with suppress(OSError):
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 200" not in everything(line)
    with connect(fake) as line:
        assert b"200 OK" in ask(line, "/health")
    assert "Traceback" not in fake.log.text


def test_who_resets_the_connection_in_the_middle_of_a_handshake_breaks_nothing(
    fake: FakeGateway,
) -> None:
    for _ in range(20):
        line = plain(fake)
        line.sendall(b"\x16\x03\x01\x02\x00")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    with connect(fake) as line:
        assert b"200 OK" in ask(line, "/health")
    assert "Traceback" not in fake.log.text


def test_a_certificate_of_another_ca_is_not_trusted_by_clients(fake: FakeGateway) -> None:
    with tempfile.TemporaryDirectory() as directory:
        other = client_context(Authority(Path(directory)))
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(fake, other)


def test_no_header_changes_the_address_that_wrong_tokens_count_for(fake: FakeGateway) -> None:
    with fake.over_tcp("wrong") as http:
        for n in range(31):
            answer = http.get("/whoami", headers={"X-Forwarded-For": f"192.0.2.{n}"})
    assert answer.json()["error"]["appcode"] == 10000
    assert "127.0.0.1" in answer.json()["error"]["message"]
    assert {row.origin for row in fake.audits("token.use")} == {"address=127.0.0.1"}


def test_a_handshake_that_does_not_end_is_broken_off(fake: FakeGateway) -> None:
    fake.restart(Limits(handshake=0.2))
    with plain(fake) as silent, plain(fake) as slow:
        slow.sendall(b"\x16\x03\x01")
        assert everything(silent) == everything(slow) == b""
    assert "Traceback" not in fake.log.text


def test_one_network_has_so_many_handshakes_at_a_time_and_the_others_their_own(
    fake: FakeGateway,
) -> None:
    fake.restart(Limits(per_network=40))  # ten handshakes
    with ExitStack() as stack:
        lines = [stack.enter_context(plain(fake)) for _ in range(10)]
        time.sleep(0.2)
        assert everything(stack.enter_context(plain(fake))) == b""
        other = socket.create_connection(("127.0.0.1", fake.port), source_address=("127.0.0.2", 0))
        with client_context(fake.authority).wrap_socket(other, server_hostname="127.0.0.1") as line:
            assert b"200 OK" in ask(line, "/health")
        lines[0].close()
        until(lambda: _answers(fake))


def _answers(fake: FakeGateway) -> bool:
    with suppress(OSError), connect(fake) as line:
        return b"200 OK" in ask(line, "/health")
    return False


def test_past_all_connections_over_tcp_the_oldest_idle_one_makes_room(fake: FakeGateway) -> None:
    fake.restart(Limits(tcp=3))
    with ExitStack() as stack:
        first = stack.enter_context(connect(fake))
        others = [stack.enter_context(connect(fake)) for _ in range(2)]
        fourth = stack.enter_context(connect(fake))
        assert everything(first) == b""
        assert b"200 OK" in ask(fourth, "/health")
        assert all(b"200 OK" in ask(line, "/health") for line in others)


def test_where_none_over_tcp_is_idle_the_socket_still_answers(fake: FakeGateway) -> None:
    fake.restart(Limits(tcp=3))
    upload = UPLOAD % fake.token().encode()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(fake)).sendall(upload)
        until(lambda: fake.server is not None and fake.server.busy == 3)
        assert everything(stack.enter_context(plain(fake))) == b""
        assert fake.http.get("/whoami").json()["user"] == ME
    until(lambda: _answers(fake))


def test_a_network_with_all_its_connections_in_use_is_told_so(fake: FakeGateway) -> None:
    fake.restart(Limits(per_network=3))
    upload = UPLOAD % fake.token().encode()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(fake)).sendall(upload)
        until(lambda: fake.server is not None and fake.server.busy == 3)
        answer = everything(stack.enter_context(connect(fake)))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert "127.0.0.1 has 3 requests under way" in str(
        json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    )


def test_a_request_that_does_not_arrive_in_time_is_408_over_tls_too(fake: FakeGateway) -> None:
    fake.restart(Limits(patience=0.2))
    upload = UPLOAD % fake.token().encode()
    for begun in (b"GET /hea", upload, upload + b"abc"):
        with connect(fake) as line:
            line.sendall(begun)
            assert everything(line).startswith(b"HTTP/1.1 408 ")
    with connect(fake) as line:
        assert everything(line) == b""


def test_hundreds_of_slow_clients_over_tls_hold_nobody_up(fake: FakeGateway) -> None:
    upload = UPLOAD % fake.token().encode()
    context = client_context(fake.authority)
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(fake, context)).sendall(upload + b"ab")
        assert fake.http.get("/jobs").status_code == 200
        with connect(fake, context) as line:
            assert b"200 OK" in ask(line, "/jobs", fake.token())
    until(lambda: fake.server is not None and fake.server.busy == 0)


@pytest.mark.parametrize("path", ["/jobs", "/tokens", "/admin/tokens", "/admin/images/x"])
def test_who_is_nobody_is_refused_before_a_byte_of_a_body_is_read(
    fake: FakeGateway, path: str
) -> None:
    read = 0

    async def ask() -> int:
        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            for _ in range(1000):
                read += 1
                yield b" " * 65536

        assert fake.app is not None
        transport = httpx.ASGITransport(fake.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://cts") as http:
            return (await http.post(path, content=body())).status_code

    assert asyncio.run(ask()) == 401
    assert read == 0


def test_a_body_over_a_page_is_refused_where_no_route_takes_one(fake_admin: FakeGateway) -> None:
    for path in ("/tokens", "/admin/tokens", "/admin/images/ghcr.io/kbase/checksum:1.0"):
        answer = fake_admin.http.post(path, json={"name": "x" * 300_000})
        assert answer.status_code == 413, answer.text
        assert "256 KiB" in answer.json()["error"]["message"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path for a socket and its certificates."""
    with tempfile.TemporaryDirectory(prefix="cts-tls-") as directory:
        yield Path(directory)


def _serve(place: Path, tls: Tls) -> Server:
    return Server(FastAPI(), place / "cts.sock", Limits(), tls)


def test_files_that_cannot_be_used_are_named_with_what_is_wrong(place: Path) -> None:
    authority = Authority(place)
    certificate, key = authority.issue()
    _, other = authority.issue("other")
    _, locked = authority.issue("locked", password=b"secret")
    (place / "empty").touch()
    for wrong, words in (
        (Tls("127.0.0.1", 0, place / "none", key), "api.tls_certificate: cannot read"),
        (Tls("127.0.0.1", 0, certificate, place / "none"), "api.tls_key: cannot read"),
        (Tls("127.0.0.1", 0, certificate, other), "not that of the certificate"),
        (Tls("127.0.0.1", 0, certificate, locked), "passphrase"),
        (Tls("127.0.0.1", 0, place / "empty", key), "no PEM"),
        (Tls("192.0.2.1", 0, certificate, key), "api.listen: cannot listen on 192.0.2.1:0"),
        (Tls("no-such-host.invalid", 1, certificate, key), "api.listen: cannot listen on"),
    ):
        with pytest.raises(ConfigError, match=words):
            _serve(place, wrong)
        assert not (place / "cts.sock").exists()


def test_a_port_that_is_taken_is_said_so(fake: FakeGateway, place: Path) -> None:
    with pytest.raises(ConfigError, match="is the address this machine's, and the port free"):
        _serve(place, fake.tls)


def test_a_name_of_several_addresses_is_listened_on_at_each(place: Path) -> None:
    made = _serve(place, Tls("localhost", 0, *Authority(place).issue()))
    assert made.listener is not None
    names = {a[4][0] for a in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    assert len(made.listener.ports) == len(names)
    made.listener.close()


DAEMON = """
import sys
from pathlib import Path
from fastapi import FastAPI
from gateway.api.server import Server
from gateway.api.tls import Tls
place = Path(sys.argv[1])
server = Server(FastAPI(), place / "cts.sock", tls=Tls("127.0.0.1", 0, place / "server.crt", place / "server.key"))
print(server.listener.ports[0], flush=True)
server.serve()
print("cleaned up", flush=True)
"""


def _serial(port: int, authority: Authority) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port)) as line,
        client_context(authority).wrap_socket(line, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def test_a_hangup_has_the_certificate_read_anew_and_a_bad_one_leaves_the_old(place: Path) -> None:
    authority = Authority(place)
    authority.issue()
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(place)], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        port = int(daemon.stdout.readline())
        until(lambda: _connects(port, authority), 30)
        first = _serial(port, authority)
        open_before = client_context(authority).wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1"
        )
        authority.issue()
        daemon.send_signal(signal.SIGHUP)
        until(lambda: _serial(port, authority) != first)
        second = _serial(port, authority)
        shutil.copy(place / "ca.pem", place / "server.crt")
        daemon.send_signal(signal.SIGHUP)
        said = ""
        while "tls.reload" not in said or "kept" not in said:
            said = daemon.stdout.readline()
        assert _serial(port, authority) == second
        assert b"404 Not Found" in ask(open_before, "/")  # connections go on
        open_before.close()
        daemon.send_signal(signal.SIGTERM)
        assert "cleaned up" in daemon.stdout.read()
    assert daemon.returncode == 0
    assert not (place / "cts.sock").exists()


def _connects(port: int, authority: Authority) -> bool:
    try:
        return bool(_serial(port, authority))
    except OSError:
        return False
