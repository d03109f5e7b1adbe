"""The real crane against the real registry of the dev cluster, and against registries that go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError
from gateway.images.crane import Crane
from tests import settings
from tests.conftest import CHECKOUT, DevCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def crane(site: DevCluster, tmp_path: Path) -> Crane:
    """The crane of test.cfg, or else the one inside the dev cluster."""
    program = settings.load().crane
    if not program:
        wrapper = tmp_path / "crane"
        tool = " ".join([str(CHECKOUT / "deploy/devcluster"), *site.options])
        wrapper.write_text(
            f'#!/bin/sh\nexport HOME=/root\nexec {tool} exec --user root -- crane "$@"\n'
        )
        wrapper.chmod(0o755)
        program = str(wrapper)
    return Crane(ImagesSection(crane=program, insecure_registries=(site.registry,)))


@contextmanager
def registry(answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """Serve HTTP on this machine; `answer` makes status, headers and body of a path. Gives host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(GatewayError) as caught:
        act()
    assert caught.value.code is AppCode.IMAGE_FETCH
    return caught.value.message


def test_an_image_is_looked_up_by_tag_and_by_digest(crane: Crane, site: DevCluster) -> None:
    name = f"{site.registry}/test/checksum"
    digest = crane.digest(f"{name}:1.0")
    assert crane.digest(f"{name}@{digest}") == digest
    assert crane.config(f"{name}@{digest}").entrypoint == ["/bin/checksum"]
    assert crane.config(f"{site.registry}/test/noentry:1.0").entrypoint == []


@pytest.mark.parametrize(
    "rest", ["none:1.0", "checksum:9", "checksum@sha256:" + "0" * 64, "checksum:401"]
)
def test_what_the_registry_does_not_have_is_told(crane: Crane, site: DevCluster, rest: str) -> None:
    name = f"{site.registry}/test/{rest}"
    assert failure(lambda: crane.digest(name)).startswith(
        f"There is no image {name} in its registry"
    )


def test_a_registry_that_cannot_be_reached_is_told(crane: Crane) -> None:
    assert "cannot be reached" in failure(lambda: crane.digest("127.0.0.1:1/a/b:1"))
    assert "no host of that name" in failure(lambda: crane.digest("nohost.invalid/a/b:1"))


def test_an_s3_endpoint_is_no_registry(crane: Crane, site: DevCluster) -> None:
    endpoint = json.loads(site.tool("env").stdout)["s3_endpoint"].partition("://")[2]
    assert "is no image registry" in failure(lambda: crane.digest(f"{endpoint}/a/b:1"))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "UNAUTHORIZED", "refuses access"),
        (403, "DENIED", "refuses access"),
        (429, "TOOMANYREQUESTS", "asked too often"),
    ],
)
def test_a_registry_that_refuses_is_told(crane: Crane, status: int, code: str, said: str) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    headers = {"WWW-Authenticate": 'Basic realm="x"', "Content-Type": "application/json"}
    with registry(lambda path: (status, headers, body)) as host:
        assert said in failure(lambda: crane.digest(f"{host}/a/b:1"))


def test_an_index_is_pinned_by_its_own_digest_and_names_its_platforms(
    crane: Crane,
) -> None:
    child = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "1" * 64,
        "size": 1,
        "platform": {"os": "linux", "architecture": "arm64"},
    }
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode()
    digest = f"sha256:{hashlib.sha256(index).hexdigest()}"

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/v2/":
            return 200, {}, b"{}"
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest}, index

    with registry(answer) as host:
        assert crane.digest(f"{host}/a/b:1") == digest
        assert crane.platforms(f"{host}/a/b@{digest}") == {"linux/arm64": child["digest"]}
