"""Many connections, idle ones and slow ones: the gateway goes on answering, and each user pays for the own."""

from __future__ import annotations

import json
import os
import resource
import socket
from contextlib import ExitStack

import pytest

from gateway.api.connections import Limits
from gateway.api.server import Server
from tests.api.gateway_fake import JOB, ME, FakeGateway, until

HEAD = b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"


def _line(fake: FakeGateway, stack: ExitStack, data: bytes = b"") -> socket.socket:
    line = stack.enter_context(socket.socket(socket.AF_UNIX))
    line.settimeout(10)
    line.connect(str(fake.socket))
    if data:  # the gateway may have refused the connection already
        line.sendall(data)
    return line


def _all(line: socket.socket) -> bytes:
    received = b""
    while piece := line.recv(65536):
        received += piece
    return received


def _error(answer: bytes) -> tuple[int, str]:
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error["httpcode"], error["message"]


def test_five_hundred_idle_connections_of_one_user_hold_nobody_up(fake: FakeGateway) -> None:
    with ExitStack() as stack:
        lines = [_line(fake, stack) for _ in range(500)]
        assert _whoami(_line(fake, stack)) == ME
        for line in lines[-10:]:
            line.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert _all(line).endswith(b'{"status":"ok"}')


def _whoami(line: socket.socket) -> str:
    line.sendall(b"GET /whoami HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        received += line.recv(65536)
    return str(json.loads(received.partition(b"\r\n\r\n")[2])["user"])


def test_past_a_users_number_of_connections_the_oldest_idle_one_makes_room(
    fake: FakeGateway,
) -> None:
    fake.restart(Limits(per_user=3))
    with ExitStack() as stack:
        first, second, third = [_line(fake, stack) for _ in range(3)]
        for line in (first, second, third, first):  # the second is the oldest now
            assert _whoami(line) == ME
        fourth = _line(fake, stack)
        assert _all(second) == b""
        assert [_whoami(line) for line in (first, third, fourth)] == [ME] * 3


def test_who_has_all_connections_in_use_is_told_so_and_not_left_waiting(fake: FakeGateway) -> None:
    fake.restart(Limits(per_user=3))
    with ExitStack() as stack:
        for _ in range(3):
            _line(fake, stack, HEAD + b"abc")
        until(lambda: fake.server is not None and fake.server.busy == 3)
        status, message = _error(_all(_line(fake, stack)))
    assert status == 503
    assert "3 requests under way" in message
    until(lambda: fake.server is not None and fake.server.busy == 0)
    assert fake.http.get("/health").status_code == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_one_users_connections_take_no_room_from_anothers(fake: FakeGateway) -> None:
    from tests.api.test_api_routes import as_uid

    fake.restart(Limits(per_user=3))
    with ExitStack() as stack:
        for _ in range(3):
            _line(fake, stack, HEAD)
        until(lambda: fake.server is not None and fake.server.busy == 3)
        assert as_uid(fake, 65534, "/health") == {"status": "ok"}


def test_a_request_that_does_not_arrive_in_time_is_408_and_its_connection_is_closed(
    fake: FakeGateway,
) -> None:
    fake.restart(Limits(patience=0.1))
    with ExitStack() as stack:
        lines = [_line(fake, stack, begun) for begun in (b"GET /hea", HEAD, HEAD + b"abc")]
        for line in lines:
            assert _error(_all(line)) == (408, "The request was not here whole in 0.1 s.")
        assert _all(_line(fake, stack)) == b""  # who says nothing is hung up on
    until(lambda: fake.server is not None and fake.server.busy == 0)
    assert "Traceback" not in fake.log.text
    assert fake.log.events("api.http") == []
    assert fake.jobs.calls == []


def test_who_goes_on_sending_after_a_refusal_is_hung_up_on(fake: FakeGateway) -> None:
    fake.restart(Limits(patience=0.1))
    with ExitStack() as stack:
        head = HEAD.replace(b"500", b"9" * 15)
        answer = _all(_line(fake, stack, head))
    assert _error(answer)[0] == 413


def test_an_answer_that_takes_longer_than_a_request_may_is_given(fake: FakeGateway) -> None:
    import threading

    fake.restart(Limits(patience=0.05))
    fake.jobs.hold = threading.Event()
    threading.Timer(0.3, fake.jobs.hold.set).start()
    assert fake.http.post("/jobs", json=JOB).json() == {"job_id": "1"}


def test_a_reader_that_does_not_read_holds_no_thread(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    fake.jobs.rows[job].logs[0, "stdout"] = b"x" * (8 << 20)
    with ExitStack() as stack:
        for _ in range(70):
            _line(fake, stack, b"GET /jobs/1/log/0/stdout HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: len(fake.jobs.calls) >= 70)
        assert fake.http.get("/jobs").status_code == 200
    until(lambda: fake.server is not None and fake.server.busy == 0)


def test_the_daemon_asks_for_as_many_files_as_the_system_lets_it(fake: FakeGateway) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft in (hard, 65536) or soft > 65536
    assert isinstance(fake.server, Server)


def test_what_uvicorn_has_to_say_is_in_the_log_like_all_else(fake: FakeGateway) -> None:
    with ExitStack() as stack:
        _all(_line(fake, stack, b"this is no HTTP\r\n\r\n"))
    (line,) = fake.log.events("api.http")
    assert (line["level"], line["detail"]) == ("warning", "Invalid HTTP request received.")


@pytest.mark.parametrize(
    "path", ["/health", "/jobs", "/jobs/1", "/jobs/99", "/jobs/1/log/0/stdout"]
)
def test_head_is_get_without_the_body(fake: FakeGateway, path: str) -> None:
    job = fake.jobs.add(phase="run")
    fake.jobs.rows[job].logs[0, "stdout"] = b"x" * (3 << 20)
    plain, head = fake.http.get(path), fake.http.head(path)
    assert (head.status_code, head.content) == (plain.status_code, b"")
    for name in ("content-type", "x-log-size"):
        assert head.headers.get(name) == plain.headers.get(name)
    if "99" not in path:
        assert head.headers["content-length"] == plain.headers["content-length"]
    if "log" in path:
        assert [what for name, what in fake.jobs.calls if name == "log"][-1] == (0, 1 << 20)


def test_head_is_refused_where_there_is_no_get_and_does_nothing(fake: FakeGateway) -> None:
    job = fake.jobs.add()
    assert fake.http.head(f"/jobs/{job}/cancel").status_code == 405
    assert fake.jobs.rows[job].phase == "created"


def test_an_address_or_headers_over_16_kib_are_refused_with_the_size_named(
    fake: FakeGateway,
) -> None:
    for head in (b"GET /jobs?cluster=%b HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: %b\r\n"):
        with ExitStack() as stack:
            answer = _all(_line(fake, stack, head % (b"x" * 100_000)))
        status, message = _error(answer)
        assert status == 431
        assert "16 KiB" in message
