"""Grants over TLS: the same request and answer, the job's token, and the mailbox when that road fails."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.agent.mailbox import Mailbox, NoAnswer, Stop
from tests.agent.conftest import SLURM, Site
from tests.agent.task import Task
from tests.api.certificates import Authority


class Daemon(ThreadingHTTPServer):
    """The daemon's TLS listener; `status` and `body` are what it answers, the grants of the site's daemon without them."""

    daemon_threads = True

    def __init__(self, site: Site, authority: Authority) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue())
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.site = site
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        self.status = 200
        self.body: bytes | None = None
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """POST alone."""

    server: Daemon

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers.items()), request))
        body = self.server.body
        if body is None:
            body = json.dumps(self.server.site.daemon.answer(request)).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who vouches for the daemon."""
    folder = tmp_path / "ca"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def daemon(site: Site, authority: Authority) -> Iterator[Daemon]:
    """A daemon that nodes reach."""
    server = Daemon(site, authority)
    site.job_json["grants"] = {"url": server.url, "ca_file": str(authority.ca)}
    yield server
    server.shutdown()
    server.server_close()


class Clock:
    """Time that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _ask(site: Site, mailbox: Mailbox) -> list[int]:
    answer = mailbox.ask("stage-in", Stop(), inputs=[1])
    return [entry.whole("id") for entry in answer.each("inputs")]


def test_a_request_goes_over_tls_with_the_jobs_token_and_none_into_the_mailbox(
    site: Site, daemon: Daemon
) -> None:
    site.input(b"hello")
    site.place()
    assert _ask(site, site.mailbox("stage-in")) == [1]
    ((path, headers, request),) = daemon.asked
    assert path == "/node/1234/requests"
    assert headers["Authorization"] == "Bearer secret-token"
    assert (request["kind"], request["token"], request["inputs"]) == (
        "stage-in",
        "secret-token",
        [1],
    )
    assert site.daemon.requests == []


def test_what_the_daemon_refuses_is_refused_and_not_asked_again(site: Site, daemon: Daemon) -> None:
    site.place()
    daemon.body = b'{"version": 1, "error": "the job has ended", "inputs": []}'
    with pytest.raises(NoAnswer, match="the job has ended"):
        _ask(site, site.mailbox("stage-in"))
    assert site.daemon.requests == []


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"{}"), (500, b"{}"), (307, b"{}"), (200, b"no JSON"), (200, b"[]")]
)
def test_any_other_answer_has_the_mailbox_asked_and_this_road_again_after_a_minute(
    site: Site, daemon: Daemon, status: int, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    site.input(b"hello")
    place, clock = site.place(), Clock()
    mailbox = Mailbox(site.job(), 0, SLURM, place, "stage-in", clock)
    daemon.status, daemon.body = status, body
    assert _ask(site, mailbox) == [1]
    assert _ask(site, mailbox) == [1]
    assert len(daemon.asked) == 1
    assert len({request["seq"] for request in site.daemon.requests}) == 2
    assert "secret-token" not in capfd.readouterr().err
    daemon.status, daemon.body = 200, None
    clock.now = 61.0
    assert _ask(site, mailbox) == [1]
    assert len(daemon.asked) == 2
    assert len(site.daemon.requests) == 2


def test_a_certificate_that_nobody_vouches_for_gets_no_token(
    site: Site, daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    site.job_json["grants"]["ca_file"] = str(other.ca)
    site.input(b"hello")
    site.place()
    assert _ask(site, site.mailbox("stage-in")) == [1]
    assert daemon.asked == []
    assert len(site.daemon.requests) == 1


def test_a_daemon_that_is_away_or_a_missing_ca_file_costs_a_job_nothing(
    site: Site, task: Task
) -> None:
    for number, road in enumerate(
        (
            {"url": "https://127.0.0.1:1", "ca_file": None},
            {"url": "https://127.0.0.1:1", "ca_file": "/no/such/file"},
        )
    ):
        ended = task.run('cp "$IN/a.txt" "$OUT"', raw={"grants": road}, number=number)
        assert ended.outcome == ("ok", 0), ended.printed
        assert "the mailbox is asked" in ended.printed
    assert site.s3.objects["out/a.txt"].data == b"hello"


def test_a_whole_job_by_this_road_leaves_no_grant_on_the_disk(
    site: Site, daemon: Daemon, task: Task
) -> None:
    ended = task.run('cp "$IN/a.txt" "$OUT"')
    assert ended.outcome == ("ok", 0), ended.printed
    assert [request["kind"] for _, _, request in daemon.asked] == ["stage-in", "stage-out"]
    kinds = {request["kind"] for request in site.daemon.requests}
    assert kinds == {"phase", "result"}
    assert site.s3.objects["out/a.txt"].data == b"hello"
