"""Each route of the table: who may use it, and what it hands to the services."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.api.routes import ROUTES, Access
from gateway.config import RolesSection
from gateway.jobs.filters import EVERYTHING, Narrow
from gateway.jobs.model import Sharing
from tests.api.gateway_fake import JOB, ME, FakeGateway


def as_uid(fake: FakeGateway, uid: int, path: str) -> dict[str, Any]:
    """Ask as another user of the machine: the kernel notes who connects."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(fake.socket))
                line.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                while piece := line.recv(65536):
                    os.write(writer, piece)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_kernel_says_who_asks_and_another_user_sees_nothing_of_my_jobs(
    fake: FakeGateway,
) -> None:
    job = fake.jobs.add()
    assert fake.http.get("/whoami").json()["user"] == ME
    assert as_uid(fake, 65534, "/whoami")["user"] == "nobody"
    assert as_uid(fake, 65534, f"/jobs/{job}")["error"]["appcode"] == 40040
    assert as_uid(fake, 65534, "/jobs") == {"jobs": [], "next": None}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_uid_without_a_name_is_refused_but_may_see_the_open_routes(fake: FakeGateway) -> None:
    error = as_uid(fake, 54321, "/whoami")["error"]
    assert (error["httpcode"], error["appcode"]) == (400, 10040)
    assert "54321" in error["message"]
    assert as_uid(fake, 54321, "/health") == {"status": "ok"}


def test_the_group_in_the_configuration_makes_an_admin() -> None:
    import grp

    from gateway.api.directory import Directory
    from gateway.api.identity import Identity

    class Asked:
        class state:  # noqa: N801
            peer = (1, os.getuid(), os.getgid())

    def is_admin(group: str) -> bool:
        identity = Identity(RolesSection(admin_groups=(group,)), Directory())
        return asyncio.run(identity.caller(Asked())).admin  # type: ignore[arg-type]

    assert is_admin(grp.getgrgid(os.getgid()).gr_name)
    assert not is_admin("no-such")


def test_a_submission_reaches_the_service_parsed_and_its_id_comes_back_as_a_string(
    fake: FakeGateway,
) -> None:
    answer = fake.http.post("/jobs", json=JOB)
    assert answer.json() == {"job_id": "1"}
    assert fake.jobs.calls == [("submit", JOB)]


def test_filters_of_lists_reach_the_service(fake: FakeGateway) -> None:
    fake.http.get(
        "/jobs?cluster=dev&state=complete&after=2026-01-31T13:00:00%2B01:00&before=2026-02-01T00:00:00Z&limit=7"
    )
    assert fake.jobs.calls[-1][1] == {
        "cluster": "dev",
        "state": "complete",
        "after": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "before": datetime(2026, 2, 1, tzinfo=UTC),
        "limit": 7,
        "user": None,
        "everyone": False,
        "narrow": EVERYTHING,
    }


def test_what_narrows_a_list_down_reaches_the_service(fake: FakeGateway) -> None:
    fake.http.get(
        "/jobs?name=a%20b&label=x&label=y=1=2&label=z=&image=tool&cursor=start&shared=true"
    )
    narrow = fake.jobs.calls[-1][1]["narrow"]
    labels = (("x", None), ("y", "1=2"), ("z", ""))
    assert narrow == Narrow("a b", labels, ("docker.io/library/tool", None, None), 0, True)
    for text, image in (
        ("tool:latest", ("docker.io/library/tool", "latest", None)),
        ("x.org/tool:1", ("x.org/tool", "1", None)),
        (f"tool@sha256:{'a' * 64}", ("docker.io/library/tool", None, "sha256:" + "a" * 64)),
    ):
        fake.http.get("/jobs", params={"image": text})
        assert fake.jobs.calls[-1][1]["narrow"].image == image


def test_a_list_by_pages_says_where_to_go_on_and_one_without_a_cursor_is_as_ever(
    fake: FakeGateway,
) -> None:
    for _ in range(5):
        fake.jobs.add()
    assert fake.http.get("/jobs?limit=2").json()["next"] is None
    seen, cursor = [], "start"
    while cursor:
        found = fake.http.get(f"/jobs?limit=2&cursor={cursor}").json()
        seen.append([job["id"] for job in found["jobs"]])
        cursor = found["next"]
    assert seen == [["5", "4"], ["3", "2"], ["1"]]


def test_who_else_may_read_a_job_is_replaced_whole(fake: FakeGateway) -> None:
    fake.jobs.add()
    answer = fake.http.put("/jobs/1/share", json={"users": ["bob"], "groups": ["lab"]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert fake.http.put("/jobs/1/share", json={}).status_code == 204
    assert fake.jobs.shared == [(1, Sharing(users=("bob",), groups=("lab",))), (1, Sharing())]
    for wrong in ({"user": ["bob"]}, {"users": ["a b"]}, {"groups": ["g"] * 101}):
        assert fake.http.put("/jobs/1/share", json=wrong).json()["error"]["appcode"] == 30010


def test_admins_list_everyones_jobs_or_one_users(fake_admin: FakeGateway) -> None:
    fake_admin.jobs.add("alice")
    fake_admin.jobs.add("bob")
    assert {j["user"] for j in fake_admin.http.get("/admin/jobs").json()["jobs"]} == {
        "alice",
        "bob",
    }
    assert {j["user"] for j in fake_admin.http.get("/admin/jobs?user=bob").json()["jobs"]} == {
        "bob"
    }
    assert fake_admin.http.get("/jobs").json() == {"jobs": [], "next": None}


@pytest.mark.parametrize(
    "path",
    [
        "ghcr.io/kbase/checksum:1.0",
        "ghcr.io%2Fkbase%2Fchecksum%3A1.0",
        "ghcr.io/kbase/checksum@sha256:" + "a" * 64,
        "ghcr.io/kbase/checksum%40sha256:" + "a" * 64,
    ],
)
def test_image_names_keep_their_slashes_and_signs_encoded_or_not(
    fake: FakeGateway, path: str
) -> None:
    assert fake.http.get(f"/images/{path}").status_code == 200
    assert fake.images.asked[-1] == path.replace("%2F", "/").replace("%3A", ":").replace("%40", "@")


def test_an_approval_keeps_what_an_admin_says_of_the_image(fake_admin: FakeGateway) -> None:
    url = "/admin/images/ghcr.io/kbase/checksum:1.0"
    notes = {"urls": ["https://example.org/a?b#c"] * 20, "usage_notes": "a\tb\n" * 2000}
    made = fake_admin.http.post(url, json=notes | {"usage_notes": notes["usage_notes"][:10_000]})
    assert made.json()["urls"] == notes["urls"]
    assert made.json()["usage_notes"] == notes["usage_notes"][:10_000]
    assert fake_admin.http.post(url, json={}).json()["registered_by"] == ME
    assert fake_admin.http.post(f"{url}?stage=true").json()["statuses"][0]["cluster"] == "dev"


@pytest.mark.parametrize(
    ("body", "loc", "says"),
    [
        ({"urls": ["https://x"] * 21}, ["body", "urls"], "at most 20"),
        ({"urls": ["https://x", "ftp://x"]}, ["body", "urls", 1], "an address of http or https, such as"),
        ({"urls": ["https://"]}, ["body", "urls", 0], "an address of http"),
        ({"urls": ["javascript:alert(1)"]}, ["body", "urls", 0], "an address of http"),
        ({"urls": ["https://x/a b"]}, ["body", "urls", 0], "an address of http"),
        ({"urls": ["https://x/" + "a" * 2000]}, ["body", "urls", 0], "1 to 2000 characters"),
        ({"usage_notes": "x" * 10_001}, ["body", "usage_notes"], "10000 characters"),
        ({"usage_notes": "a\u001b[31m"}, ["body", "usage_notes"], "must be printable text"),
        ({"from_image": ""}, ["body", "from_image"], "at least 1 character"),
        ({"url": ["https://x"]}, ["body", "url"], "not permitted"),
    ],
)  # fmt: skip
def test_what_an_admin_says_of_an_image_has_rules_each_told_with_its_place(
    fake_admin: FakeGateway, body: dict[str, Any], loc: list[Any], says: str
) -> None:
    answer = fake_admin.http.post("/admin/images/ghcr.io/kbase/checksum:1.0", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["appcode"]) == (400, 30010)
    (detail,) = error["request_validation_detail"]
    assert detail["loc"] == loc
    assert says in detail["msg"]
    assert "Value error" not in detail["msg"]
    assert fake_admin.images.asked == []


def test_an_image_is_deleted_and_staged_by_any_form_of_its_name(fake_admin: FakeGateway) -> None:
    name = "ghcr.io/kbase/checksum@sha256:" + "a" * 64
    assert fake_admin.http.delete(f"/admin/images/{name}").status_code == 204
    staged = fake_admin.http.put(f"/admin/images/{name}/stage?cluster=a&cluster=b").json()
    assert [at["cluster"] for at in staged["statuses"]] == ["a", "b"]
    assert fake_admin.images.asked == [name, name]


def test_accounting_of_others_is_for_admins(fake: FakeGateway, fake_admin: FakeGateway) -> None:
    for query in ("everyone=true", "user=bob", f"user={ME}&user=bob"):
        assert fake.http.get(f"/accounting?{query}").json()["error"]["appcode"] == 20000
        assert fake_admin.http.get(f"/accounting?{query}").status_code == 200
    assert fake.http.get(f"/accounting?user={ME}").status_code == 200
    assert [asked["users"] for asked in fake_admin.info.asked] == [[], ["bob"], [ME], ["bob"]]


def test_accounting_takes_states_of_the_wire_and_phases(fake: FakeGateway) -> None:
    fake.http.get(
        "/accounting?state=job_submitted&state=stage-in&state=complete&job=12&job=12_0.run"
    )
    asked = fake.info.asked[-1]
    assert asked["phases"] == ["pending", "stage-in", "run", "stage-in", "complete"]
    assert asked["refs"] == ["12", "12_0.run"]
    fake.http.get("/accounting?state=download_submitted")
    assert fake.info.asked[-1]["phases"] == ["download_submitted"]
    fake.http.get("/accounting?state=TIMEOUT&state=error&account=a&account=b&cluster=dev")
    asked = fake.info.asked[-1]
    assert (asked["words"], asked["phases"]) == (["TIMEOUT"], ["error"])
    assert (asked["accounts"], asked["sites"]) == (["a", "b"], ["dev"])


def test_ready_is_503_with_its_lines_where_a_dependency_fails(fake: FakeGateway) -> None:
    fake.info.well = False
    answer = fake.http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"][0] == {"name": "s3", "ok": False, "detail": "2 ms"}


def test_openapi_has_every_route_with_its_errors_and_the_job_model(fake: FakeGateway) -> None:
    schema = fake.http.get("/openapi.json").json()
    for route in ROUTES:
        if route.access is Access.NODE:  # no user's: docs/node-protocol.md has it
            assert route.path not in schema["paths"]
            continue
        operation = schema["paths"][route.path.replace(":path", "")][route.method.lower()]
        assert {"4XX", "5XX", str(route.status)} <= set(operation["responses"])
        assert "422" not in operation["responses"]
    names = [o["operationId"] for path in schema["paths"].values() for o in path.values()]
    assert len(set(names)) == len(names)
    parts = schema["components"]["schemas"]
    assert {"JobInput", "Params", "Job", "ErrorBody"} <= set(parts)
    for reference in _references(schema):
        assert reference.removeprefix("#/components/schemas/") in parts
    body = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert fake.http.post("/jobs", json=body["example"]).status_code == 200


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _references(value)]
    return [ref for item in node for ref in _references(item)] if isinstance(node, list) else []
