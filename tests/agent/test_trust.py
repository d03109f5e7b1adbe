"""Whose certificates a node trusts: those that the job's description says of the URL's host."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.agent.files import Trust
from gateway.agent.s3http import Line, Policy, Refused
from tests.agent.conftest import HASTY
from tests.agent.site import Site
from tests.api.certificates import Authority


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def port(authority: Authority) -> Iterator[int]:
    """The port of a store with TLS, of localhost and 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(url: str, *trusts: Trust, policy: Policy = HASTY) -> int:
    line = Line(trusts, policy=policy)
    response = line.open("GET", url, {})
    line.drop(response, url)
    return response.status


def test_each_host_is_held_against_its_own_ca(port: int, authority: Authority) -> None:
    good, other = f"localhost:{port}", f"127.0.0.1:{port}"
    line = Line((Trust(good, str(authority.ca)), Trust(other)), policy=HASTY)
    response = line.open("GET", f"https://{good}/x", {})
    assert response.status == 204
    line.drop(response, f"https://{good}/x")
    with pytest.raises(Refused) as caught:
        line.open("GET", f"https://{other}/x?X-Amz-Signature=secret", {})
    assert str(caught.value).startswith(
        f"the certificate of the storage at {other} is not trusted: "
    )
    assert "secret" not in str(caught.value)


def test_insecure_is_of_one_host_alone(port: int) -> None:
    trust = Trust(f"localhost:{port}", None, insecure=True)
    assert ask(f"https://localhost:{port}/", trust) == 204
    with pytest.raises(Refused, match="is not trusted"):
        ask(f"https://127.0.0.1:{port}/", trust)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_file_that_a_node_cannot_use_is_told(
    port: int, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "site.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Refused, match=f"the CA file {file} of the storage cannot be used on this"):
        ask(f"https://localhost:{port}/", Trust(f"localhost:{port}", str(file)))


def test_the_description_of_a_job_has_the_trust_of_each_store(site: Site) -> None:
    stores = [
        {"host": "s3.org", "ca_file": "/ca.pem", "insecure": False},
        {"host": "b.org:9000", "ca_file": None, "insecure": True},
    ]
    job = site.job(s3={"part_size": 5, "stores": stores})
    assert job.part_size == 5
    assert job.trusts == (Trust("s3.org", "/ca.pem"), Trust("b.org:9000", None, insecure=True))
