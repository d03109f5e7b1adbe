"""The socket and its server: made safely, ended in order, and not held up by the slow."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gateway.api.bodies import MAX_BODY
from gateway.api.middleware import Requests
from gateway.api.server import Server
from gateway.errors import ConfigError
from tests.api.gateway_fake import JOB, FakeGateway, until


@pytest.fixture
def place() -> Iterator[Path]:
    """A path for a socket: short, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="cts-sock-") as directory:
        yield Path(directory) / "run" / "cts.sock"


def test_everybody_may_connect_and_the_socket_goes_with_the_server(fake: FakeGateway) -> None:
    mode = fake.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o666
    fake.stop()
    assert not fake.socket.exists()


def test_the_socket_of_a_daemon_that_is_gone_is_replaced(place: Path) -> None:
    place.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    made = Server(FastAPI(), place)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))
    assert not made.ready


def test_the_socket_of_a_live_daemon_is_left_alone(fake: FakeGateway) -> None:
    with pytest.raises(ConfigError, match="is listening on"):
        Server(FastAPI(), fake.socket)
    assert fake.http.get("/health").status_code == 200


def test_a_daemon_that_has_not_begun_to_serve_holds_its_socket_already(place: Path) -> None:
    first = Server(FastAPI(), place)
    with pytest.raises(ConfigError, match="is listening on"):
        Server(FastAPI(), place)
    assert first is not None


def test_a_daemon_with_a_full_queue_is_alive(place: Path) -> None:
    place.parent.mkdir()
    with (
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as first,
        socket.socket(socket.AF_UNIX) as second,
    ):
        busy.bind(str(place))
        busy.listen(0)
        for line in (first, second):
            line.setblocking(False)
            line.connect_ex(str(place))
        with pytest.raises(ConfigError, match="is listening on"):
            Server(FastAPI(), place)
        assert place.exists()


def test_what_is_no_socket_is_not_removed(place: Path) -> None:
    place.parent.mkdir()
    place.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        Server(FastAPI(), place)
    assert place.read_text() == "precious"
    place.unlink()
    place.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="is no socket"):
        Server(FastAPI(), place)


def test_a_directory_where_anybody_may_replace_the_socket_is_refused(place: Path) -> None:
    place.parent.mkdir()
    place.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod o-w"):
        Server(FastAPI(), place)


def test_a_path_too_long_for_a_socket_is_said_so(place: Path) -> None:
    with pytest.raises(ConfigError, match="107 bytes"):
        Server(FastAPI(), place.parent / ("x" * 100) / "cts.sock")


def test_a_server_does_not_remove_the_socket_of_its_successor(fake: FakeGateway) -> None:
    fake.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(fake.socket))
        fake.stop()
        assert fake.socket.exists()


def test_a_signal_ends_the_process_in_order_and_what_comes_after_serving_is_done(
    place: Path,
) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom fastapi import FastAPI\nfrom gateway.api.server import Server\n"
        "s=Server(FastAPI(),Path(sys.argv[1]))\ntry:\n    s.serve()\nfinally:\n    print('cleaned up')\n"
    )
    daemons = {
        number: subprocess.Popen(
            [sys.executable, "-c", code, f"{place}.{number}"], stdout=subprocess.PIPE, text=True
        )
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    for number, daemon in daemons.items():
        socket_ = Path(f"{place}.{number}")
        until(socket_.exists, 30)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_), verify=False)) as http:
            http.get("http://cts/")
            daemon.send_signal(number)
            out, _ = daemon.communicate(timeout=20)
        assert (daemon.returncode, out) == (0, "cleaned up\n")
        assert not socket_.exists()


def test_hundreds_of_slow_clients_hold_nobody_up(fake: FakeGateway) -> None:
    with ExitStack() as stack:
        for _ in range(250):  # a user may have 256
            line = stack.enter_context(socket.socket(socket.AF_UNIX))
            line.connect(str(fake.socket))
            line.sendall(b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nab")
        assert fake.http.get("/jobs").status_code == 200


def test_submissions_that_wait_for_s3_do_not_hold_up_reading(fake: FakeGateway) -> None:
    job = fake.jobs.add()
    fake.jobs.hold = threading.Event()
    with ThreadPoolExecutor(80) as pool:
        answers = [pool.submit(fake.http.post, "/jobs", json=JOB) for _ in range(80)]
        until(lambda: fake.server is not None and fake.server.busy == 80)
        until(lambda: len(fake.jobs.calls) >= 16)
        assert fake.http.get(f"/jobs/{job}").status_code == 200
        assert len(fake.jobs.calls) == 16
        fake.jobs.hold.set()
        assert {answer.result().status_code for answer in answers} == {200}


def test_one_user_fills_no_memory_with_bodies_that_arrive_slowly(fake: FakeGateway) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MAX_BODY
    with ExitStack() as stack:
        for _ in range(4):
            line = stack.enter_context(socket.socket(socket.AF_UNIX))
            line.connect(str(fake.socket))
            line.sendall(head + b" " * (MAX_BODY - 1))
        answer = fake.http.post("/jobs", content=b" " * (1 << 20))
        assert answer.status_code == 400
        assert answer.json()["error"]["appcode"] == 60000
    until(lambda: fake.server is not None and fake.server.busy == 0)
    assert fake.http.post("/jobs", json=JOB).status_code == 200


def test_a_request_that_the_daemons_end_cuts_short_is_told_so(fake: FakeGateway) -> None:
    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Requests(cut, lambda *_: None))
        async with httpx.AsyncClient(transport=transport, base_url="http://cts") as http:
            return await http.get("/jobs")

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert "being stopped" in answer.json()["error"]["message"]
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


def test_two_requests_on_one_connection_have_the_same_peer(fake: FakeGateway) -> None:
    first, second = fake.http.get("/whoami"), fake.http.get("/whoami")
    assert first.json() == second.json()
