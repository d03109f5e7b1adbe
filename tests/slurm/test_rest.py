"""Slurm by slurmrestd: what is asked, and what each answer means to the gateway. The server here says what slurmrestd said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.errors import SiteError
from gateway.slurm.hands import LocalHands
from gateway.slurm.protocol import Limits, SubmitLaterError, SubmitRefusedError
from gateway.slurm.rest import RestBackend
from gateway.slurm.slurmrestd import KNOWN, Slurmrestd
from gateway.slurm.tokens import TokenFile
from tests.slurm.test_restread import recorded
from tests.slurm.test_tokens import made

SCRIPT = "#!/bin/sh\n#SBATCH --comment=cts:dev:1:0:ab\n#SBATCH --array=0-1\nexec true\n"
Answer = tuple[int, Any]
HANG_UP: Answer = (0, None)


def fails(error: str, code: int = 2000, status: int = 500) -> Answer:
    return status, {"errors": [{"error": error, "error_number": code}]}


@dataclass
class Server:
    """Gives its answers one after the other, and keeps what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    offers: tuple[str, ...] = ("v0.0.44", "v0.0.45", "v0.0.99")
    port: int = 0

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        if path == "/openapi/v3":
            return 200, {"paths": {f"/slurm/{each}/job/submit": {} for each in self.offers}}
        self.asked.append((method, path, headers, body))
        return self.answers.pop(0)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, document = made.answer(self.command, self.path, dict(self.headers), body)
            if status == 0:
                return
            data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        made.port = listener.server_port
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield made
        listener.shutdown()
        thread.join()


@pytest.fixture
def slurm(server: Server, tmp_path: Path) -> RestBackend:
    token = tmp_path / "token"
    token.write_text(made(sun="ctsjob"))
    (tmp_path / "script").write_text(SCRIPT)
    hands = LocalHands(str(tmp_path / "work"), exclusive=False)
    rest = Slurmrestd(f"http://127.0.0.1:{server.port}", TokenFile(token), "ctsjob", None)
    return RestBackend(rest, hands, str(tmp_path), "ctsjob", 20)


def test_a_submission_is_the_script_its_directives_as_fields_and_a_small_environment(
    server: Server, slurm: RestBackend, tmp_path: Path
) -> None:
    server.answers = [(200, {"job_id": 77, "errors": [], "warnings": []})]
    path = str(tmp_path / "script")
    assert slurm.submit(path) == "77"
    ((method, where, headers, body),) = server.asked
    assert (method, where) == ("POST", "/slurm/v0.0.45/job/submit")
    assert headers["X-SLURM-USER-NAME"] == "ctsjob"
    assert headers["X-SLURM-USER-TOKEN"] == made(sun="ctsjob")
    job = body["job"]
    assert (job["script"], job["comment"], job["array"]) == (SCRIPT, "cts:dev:1:0:ab", "0-1")
    assert job["argv"] == [path]
    assert {"SLURM_UMASK=0077", "TZ=UTC", "USER=ctsjob"} < set(job["environment"])


def test_an_id_is_proof_whatever_else_is_said(
    server: Server, slurm: RestBackend, tmp_path: Path
) -> None:
    server.answers = [(500, {"job_id": 78, "errors": [{"error": "Unspecified error"}]})]
    assert slurm.submit(str(tmp_path / "script")) == "78"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (fails("Invalid qos specification", 2066), SubmitRefusedError, "^Invalid qos"),
        (fails("MaxJobCount limit reached"), SubmitLaterError, "MaxJobCount"),
        (
            fails("Unable to contact slurm controller (connect failure)"),
            SubmitLaterError,
            "connect failure",
        ),
        # Which limit it is, is not said: it may be one that passes.
        (
            fails("Job violates accounting/QOS policy (job submit limit, user's size)", 2050),
            SubmitLaterError,
            "job submit limit",
        ),
        ((401, "Authentication failure"), SubmitLaterError, r"does not let the gateway in \(/.*/token\)"),
        (
            (404, "Unable to find requested URL endpoint."),
            SubmitLaterError,
            "does not know /slurm/v0.0.45/job/submit",
        ),
        (fails("Socket timed out on send/recv operation"), SiteError, "Socket timed out"),
        (fails("Unspecified error", -1), SiteError, "Unspecified error"),
        (
            fails("Protocol authentication error", 1007, 511),
            SiteError,
            "does not accept the token for ctsjob of /.*/token",
        ),
        ((200, {"job_id": None, "errors": [], "warnings": []}), SiteError, "no job id"),
        ((500, "<html>a proxy is sorry</html>"), SiteError, "HTTP 500: <html>a proxy is sorry"),
        ((200, "[]"), SiteError, "HTTP 200"),
        (HANG_UP, SiteError, "broke off"),
    ],
)  # fmt: skip
def test_refused_later_and_not_known_are_told_apart(
    server: Server,
    slurm: RestBackend,
    tmp_path: Path,
    answer: Answer,
    kind: type[Exception],
    said: str,
) -> None:
    server.answers = [answer]
    with pytest.raises(kind, match=said) as caught:
        slurm.submit(str(tmp_path / "script"))
    assert type(caught.value) is kind or kind is not SiteError
    assert isinstance(caught.value, SubmitLaterError) == (kind is SubmitLaterError)
    assert made(sun="ctsjob") not in str(caught.value)


def test_a_slurmrestd_that_is_not_there_has_taken_nothing(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPT)
    hands = LocalHands(str(tmp_path / "work"), exclusive=False)
    rest = Slurmrestd(f"unix:{tmp_path}/socket", None, "ctsjob", None)
    slurm = RestBackend(rest, hands, None, "ctsjob", 20)
    with pytest.raises(SubmitLaterError, match="socket cannot be reached"):
        slurm.submit(str(tmp_path / "script"))
    with pytest.raises(SiteError, match="socket cannot be reached"):
        slurm.queue()


def test_a_script_with_a_directive_that_has_no_field_is_refused_and_not_sent(
    server: Server, slurm: RestBackend, tmp_path: Path
) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\n#SBATCH --exclusive\nexec true\n")
    with pytest.raises(SubmitRefusedError, match="'#SBATCH --exclusive' cannot be given"):
        slurm.submit(str(path))
    assert server.asked == []


def test_a_script_that_cannot_be_read_is_tried_again(slurm: RestBackend, tmp_path: Path) -> None:
    with pytest.raises(SubmitLaterError, match="gone"):
        slurm.submit(str(tmp_path / "gone"))


def test_the_newest_version_that_both_know_is_spoken(server: Server, slurm: RestBackend) -> None:
    server.offers = ("v0.0.39", "v0.0.41", "v0.0.43")
    server.answers = [(200, {"jobs": []})]
    assert slurm.queue() == []
    assert server.asked[0][1] == "/slurm/v0.0.43/jobs/?flags=ALL"


def test_no_version_in_common_is_said_with_both_sides(server: Server, slurm: RestBackend) -> None:
    server.offers = ("v0.0.38", "v0.0.39")
    with pytest.raises(
        SiteError,
        match=rf"offers v0.0.38, v0.0.39; the gateway speaks {KNOWN[-1]} to {KNOWN[0]}",
    ):
        slurm.queue()


def test_another_slurmrestd_than_before_is_asked_for_its_versions_anew(
    server: Server, slurm: RestBackend
) -> None:
    server.answers = [(404, "Unable to find requested URL endpoint."), (200, {"jobs": []})]
    with pytest.raises(SiteError, match="does not know"):
        slurm.queue()
    server.offers = ("v0.0.44",)
    assert slurm.queue() == []
    assert [path for _, path, _, _ in server.asked] == [
        f"/slurm/v0.0.{number}/jobs/?flags=ALL" for number in (45, 44)
    ]


def test_queue_and_accounting_are_one_question_each_for_the_jobs_user_alone(
    server: Server, slurm: RestBackend
) -> None:
    server.answers = [(200, recorded("jobs")), (200, recorded("records"))]
    assert len(slurm.queue()) == 12
    since = datetime(2026, 11, 24, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert len(slurm.accounting(since)) == 6
    assert len(server.asked) == 2
    asked = urlsplit(server.asked[1][1])
    assert asked.path == "/slurmdb/v0.0.45/jobs/"
    begin = int(datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp())
    assert parse_qs(asked.query) == {"users": ["ctsjob"], "start_time": [f"uts{begin}"]}


def test_an_error_in_an_answer_is_no_news(server: Server, slurm: RestBackend) -> None:
    server.answers = [(502, {"jobs": [], **fails("Unable to connect to database", 7000)[1]})]
    with pytest.raises(SiteError, match="slurmrestd: Unable to connect to database"):
        slurm.accounting(datetime.now(UTC))


@pytest.mark.parametrize("answer", [(200, {}), (200, {"jobs": None}), (502, {"errors": []})])
def test_a_list_that_is_missing_is_not_an_empty_one(
    server: Server, slurm: RestBackend, answer: Answer
) -> None:
    server.answers = [answer] * 3
    with pytest.raises(SiteError, match=r"no list of jobs|Unable to contact slurm controller"):
        slurm.queue()
    with pytest.raises(SiteError, match=r"no list of jobs|Unable to contact slurm controller"):
        slurm.accounting(datetime.now(UTC))
    with pytest.raises(SiteError, match=r"no list of partitions|Unable to contact"):
        slurm.partitions()


def test_all_ids_are_canceled_by_one_question_and_what_has_ended_is_no_error(
    server: Server, slurm: RestBackend
) -> None:
    gone = [{"step_id": "7", "error": {"code": code, "message": ""}} for code in (0, 2017, 2021)]
    denied = {
        "step_id": "9",
        "error": {"code": 2002, "message": "Access/permission denied"},
    }
    server.answers = [(200, {"status": gone}), (200, {"status": [*gone, denied]})]
    slurm.cancel([])
    slurm.cancel(["77", "78_3"])
    assert server.asked[0][0] == "DELETE"
    assert server.asked[0][3] == {"jobs": ["77", "78_3"]}
    with pytest.raises(SiteError, match="9: Access/permission denied"):
        slurm.cancel(["9"])


def test_limits_come_from_slurmrestd_or_where_it_shows_none_from_scontrol(
    server: Server, slurm: RestBackend, tmp_path: Path
) -> None:
    server.answers = [(200, recorded("conf"))]
    assert slurm.limits() == Limits(10001, "26.05.5")
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho MaxArraySize = 2001\necho SLURM_VERSION = 25.05.1\n")
    scontrol.chmod(0o755)
    server.answers = [(404, "Unable to find"), (200, {"licenses": []})]
    with pytest.raises(SiteError):
        slurm.limits()
    server.offers = ("v0.0.43",)
    assert slurm.limits() == Limits(2001, "25.05.1")
    assert server.asked[-1][1] == "/slurm/v0.0.43/licenses/"


def test_what_is_shown_of_jobs_is_theirs_alone_and_trouble_stands_in_the_answer(
    server: Server, slurm: RestBackend
) -> None:
    server.answers = [(200, recorded("jobs")), fails("Unable to connect to database", 7000)]
    shown = slurm.show(["33_1"], 5)
    assert isinstance(shown.controller, dict)
    assert [job["job_id"] for job in shown.controller["jobs"]] == [36]
    assert shown.controller_error is None
    assert shown.accounting is None
    assert shown.accounting_error == "slurmrestd: Unable to connect to database"
    assert server.asked[1][1].endswith("/jobs/?step=33_1")
