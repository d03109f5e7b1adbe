"""Every way to fail has the protocol's body, an appcode where it is a 4xx, and a request id."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest

from gateway.api.bodies import MAX_BODY
from gateway.errors import SiteError, StoreError
from tests.api.gateway_fake import JOB, FakeGateway, until


def _check(answer: object, status: int, appcode: int | None) -> dict[str, object]:
    body = answer.json()  # type: ignore[attr-defined]
    error: dict[str, object] = body["error"]
    assert list(body) == ["error"]
    assert answer.status_code == status == error["httpcode"], body  # type: ignore[attr-defined]
    assert error.get("appcode") == appcode, body
    assert ("apperror" in error) == (appcode is not None)
    assert error["httpstatus"]
    assert datetime.fromisoformat(str(error["time"])).tzinfo is not None
    assert error["request_id"] == answer.headers["X-Request-ID"]  # type: ignore[attr-defined]
    assert ("request_validation_detail" in error) == (appcode == 30010)
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "appcode"),
    [
        ("GET", "/nothing", 404, 40000),
        ("GET", "/jobs/", 404, 40000),
        ("POST", "/jobs/1", 405, 100000),
        ("DELETE", "/jobs", 405, 100000),
        ("BREW", "/jobs", 405, 100000),
        ("GET", "/jobs/99", 404, 40040),
        ("GET", "/jobs/abc", 404, 40040),
        ("GET", "/jobs/0", 404, 40040),
        ("GET", "/jobs/-1", 404, 40040),
        ("GET", "/jobs/1_0", 404, 40040),
        ("GET", "/jobs/" + "9" * 5000, 404, 40040),
        ("GET", "/jobs/%00", 404, 40040),
        ("GET", "/jobs/%D9%A1", 404, 40040),
        ("PUT", "/jobs/99/cancel", 404, 40040),
        ("PUT", "/jobs/2/cancel", 400, 30300),
        ("GET", "/jobs/1/log/0/stdout", 404, 40070),
        ("GET", "/jobs/1/log/7/stdout", 404, 40050),
        ("GET", "/jobs/1/log/99999999999999999999/stdout", 404, 40050),
        ("GET", "/jobs/1/log/-1/stdout", 404, 40050),
        ("GET", "/jobs/1/log/x/stdout", 404, 40050),
        ("GET", "/jobs/1/log/0/stdin", 400, 30010),
        ("GET", "/jobs/1/log/0/stdout?seek=-1", 400, 30010),
        ("GET", "/jobs/1/log/0/stdout?length=x", 400, 30010),
        ("GET", "/images/nobody/nothing:1", 404, 40030),
        ("GET", "/jobs?limit=0", 400, 30010),
        ("GET", "/jobs?limit=1001", 400, 30010),
        ("GET", "/jobs?limit=ten", 400, 30010),
        ("GET", "/jobs?state=running", 400, 30010),
        ("GET", "/jobs?after=yesterday", 400, 30001),
        ("GET", "/jobs?after=2026-01-31T12:00:00", 400, 30001),
        ("GET", "/jobs?after=1769860800", 400, 30001),
        ("GET", "/jobs?before=0001-01-01T00:00:00%2B14:00", 400, 30001),
        ("GET", "/jobs?limit=5&limit=6", 400, 30001),
        ("GET", "/jobs?user=bob", 400, 100000),
        ("GET", "/jobs?label=-a", 400, 30001),
        ("GET", "/jobs?label=" + "&label=".join(f"l{n}" for n in range(65)), 400, 30001),
        ("GET", "/jobs?cursor=a", 400, 30010),
        ("GET", "/jobs?image=a:b:c", 400, 30040),
        ("GET", "/jobs?name=a&name=b", 400, 30001),
        ("GET", "/admin/jobs?shared=true", 403, 20000),
        ("GET", "/jobs/1?limit=5", 400, 100000),
        ("POST", "/jobs?dry_run=maybe", 400, 30010),
        ("POST", "/jobs?limit=5", 400, 100000),
        ("GET", "/refdata?x=1", 400, 30001),
        ("GET", "/refdata/id/7", 404, 40060),
        ("GET", "/refdata/path/bucket/key", 404, 40060),
        ("GET", "/refdata/path/BUCKET/key", 400, 30020),
        ("POST", "/admin/refdata/bucket/key", 403, 20000),
        ("PUT", "/admin/refdata/7/dev/recover", 403, 20000),
        ("DELETE", "/admin/refdata/7/dev/clean", 403, 20000),
        ("PUT", "/admin/jobs/1/meta", 403, 20000),
        ("GET", "/whoami?x=1", 400, 30001),
        ("GET", "/accounting?state=nonsense", 400, 30001),
        ("GET", "/accounting?job=x", 404, 40040),
        ("GET", "/accounting?everyone=true", 403, 20000),
        ("GET", "/admin/jobs", 403, 20000),
        ("GET", "/admin/jobs?nonsense=1", 403, 20000),
    ],
)
def test_each_mistake_has_its_code(
    fake: FakeGateway, method: str, path: str, status: int, appcode: int
) -> None:
    fake.jobs.add()
    fake.jobs.add(phase="complete")
    _check(fake.http.request(method, path), status, appcode)


@pytest.mark.parametrize(
    ("body", "appcode"),
    [
        (b"", 30010),
        (b"{", 30010),
        (b"[]", 30010),
        (b"null", 30010),
        (b"\xff\xfe", 30010),
        (b"NaN", 30010),
        (b'{"cluster": "a", "cluster": "b"}', 30010),
        (b"[" * 100_000, 30010),
        (b"1" * 10_000, 30010),
        (json.dumps(JOB | {"cpu": 1}).encode(), 30010),
        (json.dumps(JOB | {"output_dir": "no_bucket!/x"}).encode(), 30020),
        (json.dumps(JOB | {"image": "a:b:c"}).encode(), 30040),
    ],
)
def test_each_bad_body_has_its_code(fake: FakeGateway, body: bytes, appcode: int) -> None:
    answer = fake.http.post("/jobs", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["appcode"]) == (400, appcode), error
    if appcode == 30010:
        assert set(error["request_validation_detail"][0]) == {"loc", "msg", "type"}


def test_an_unknown_query_parameter_is_told_its_nearest_and_nothing_is_done(
    fake: FakeGateway,
) -> None:
    answer = fake.http.get("/jobs?clutser=dev")
    assert "did you mean 'cluster'?" in str(_check(answer, 400, 30001)["message"])
    assert "known here: dry_run" in str(
        _check(fake.http.post("/jobs?x=true", json=JOB), 400, 30001)["message"]
    )
    assert fake.jobs.calls == []


def test_a_query_parameter_of_the_protocol_that_a_route_has_not_yet_is_named_and_not_ignored(
    fake: FakeGateway,
) -> None:
    answer = fake.http.post("/jobs?force=true", json=JOB)
    assert str(_check(answer, 400, 100000)["message"]).startswith("force: POST /jobs ")
    assert fake.jobs.calls == []


def test_a_405_lists_what_is_allowed(fake: FakeGateway) -> None:
    assert fake.http.delete("/whoami").headers["allow"] == "GET, HEAD"
    assert fake.http.delete("/jobs").headers["allow"] == "GET, HEAD, POST"
    assert fake.http.options("/admin/images/x").headers["allow"] == "DELETE, POST"
    assert fake.http.get("/admin/jobs/1/meta").headers["allow"] == "PUT"
    assert fake.http.get("/jobs/1/cancel").headers["allow"] == "PUT"


@pytest.mark.parametrize("keys", [[""], ["k" * 256], ["a\tb"], ["\u00e9"], ["a", "b"]])
def test_an_idempotency_key_is_one_of_1_to_255_printable_characters(
    fake: FakeGateway, keys: list[str]
) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1")) for key in keys]
    _check(fake.http.post("/jobs", json=JOB, headers=headers), 400, 30001)
    assert fake.jobs.calls == []


def test_an_idempotency_key_reaches_the_service(fake: FakeGateway) -> None:
    for key in ("k", "a b" + "~" * 252):
        fake.http.post("/jobs", json=JOB, headers={"Idempotency-Key": key})
    fake.http.post("/jobs", json=JOB)
    assert fake.jobs.keys == ["k", "a b" + "~" * 252, None]


def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(fake: FakeGateway) -> None:
    _check(fake.http.post("/jobs", content=b" " * (MAX_BODY + 1)), 413, 30001)

    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_BODY // (1 << 20) + 1):
            yield b" " * (1 << 20)

    _check(fake.http.post("/jobs", content=pieces()), 413, 30001)
    head = (
        b"POST /jobs HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: "
        + b"9" * 15
        + b"\r\n\r\n"
    )
    assert _raw(fake, head)[0] == 413  # at once, without a byte of it
    assert fake.jobs.calls == []


def test_an_unexpected_exception_is_a_500_that_tells_nothing_of_the_inside(
    fake: FakeGateway,
) -> None:
    fake.jobs.raises = RuntimeError("password=hunter2")
    error = _check(fake.http.get("/jobs/1"), 500, None)
    assert "hunter2" not in json.dumps(error)
    (bug,) = fake.log.events("api.bug")
    assert bug["request_id"] == error["request_id"]
    assert "hunter2" in bug["exception"]
    fake.jobs.raises = None
    assert fake.http.get("/health").status_code == 200


@pytest.mark.parametrize("trouble", [SiteError("ssh: n1: no route"), StoreError("locked")])
def test_a_site_or_database_that_does_not_answer_is_a_503(
    fake: FakeGateway, trouble: Exception
) -> None:
    fake.jobs.raises = trouble
    error = _check(fake.http.get("/jobs/1"), 503, None)
    assert "no route" not in str(error["message"])
    assert "later" in str(error["message"])


def _raw(fake: FakeGateway, data: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(fake.socket))
        line.sendall(data)
        received = b""
        while piece := line.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (x.split(": ", 1) for x in rest)}, body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"this is no HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000, 431),
    ],
)
def test_what_is_no_http_gets_the_same_body_and_harms_nobody(
    fake: FakeGateway, data: bytes, status: int
) -> None:
    code, headers, body = _raw(fake, data)
    error = json.loads(body)["error"]
    assert code == status == error["httpcode"]
    assert error["appcode"] == 30001
    assert error["request_id"] == headers["x-request-id"]
    assert fake.http.get("/health").status_code == 200


def test_every_request_has_an_id_of_its_own(fake: FakeGateway) -> None:
    answers = [
        fake.http.get(path) for path in ("/", "/jobs", "/nothing", "/jobs/9", "/openapi.json")
    ]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == len(answers)


def test_who_leaves_in_the_middle_of_a_body_leaves_a_line_in_the_log_and_no_task(
    fake: FakeGateway,
) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(fake.socket))
        line.sendall(b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nabc")
    until(lambda: fake.log.events("api.gone"))
    (gone,) = fake.log.events("api.gone")
    assert (gone["method"], gone["path"], gone["status"]) == ("POST", "/jobs", None)
    until(lambda: fake.server is not None and fake.server.busy == 0)
    assert fake.http.get("/health").status_code == 200
    assert "Traceback" not in fake.log.text
    assert fake.log.events("api.bug") == fake.log.events("api.http") == []
    assert fake.jobs.calls == []


def test_who_leaves_while_its_job_is_submitted_has_submitted_it(fake: FakeGateway) -> None:
    fake.jobs.hold = threading.Event()
    body = json.dumps(JOB).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(fake.socket))
        line.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        until(lambda: fake.jobs.calls)
    fake.jobs.hold.set()
    until(lambda: list(fake.jobs.rows) == [1])
    until(lambda: "POST" in [event["method"] for event in fake.log.events("api.request")])
    assert "Traceback" not in fake.log.text


def test_text_that_is_no_unicode_comes_back_in_an_error_and_not_as_a_500(fake: FakeGateway) -> None:
    for body in (b'{"\\ud800": 1}', b'{"cluster": "\\ud800"}', b'{"input_files": ["b/\\udfff"]}'):
        answer = fake.http.post("/jobs", content=body)
        assert answer.status_code == 400, answer.text
    assert fake.http.get("/jobs/%ED%A0%80").status_code == 404
    assert fake.http.get("/jobs?%ED%A0%80=1").status_code == 400
