"""The routes of tokens: what they hand on, what they tell, and that no token is ever in a log."""

from __future__ import annotations

import grp
import os
import pwd
from datetime import timedelta

import pytest

from gateway.errors import StoreError
from tests.api.gateway_fake import ME, FakeGateway, until
from tests.api.test_api_access import bearer


def test_a_token_is_told_when_it_is_made_and_never_again(fake: FakeGateway) -> None:
    made = fake.http.post("/tokens", json={"name": "laptop", "expires_in": 3600}).json()
    assert made["token"].startswith(f"cts_{made['id']}_")
    assert (made["user"], made["name"], made["state"]) == (ME, "laptop", "active")
    listed = fake.http.get("/tokens")
    assert [t["id"] for t in listed.json()["tokens"]] == [made["id"]]
    assert made["token"].rpartition("_")[2] not in listed.text
    with fake.over_tcp(made["token"]) as http:
        assert http.get("/whoami").json()["user"] == ME


def test_a_token_made_without_a_wish_works_for_30_days(fake: FakeGateway) -> None:
    for answer in (fake.http.post("/tokens"), fake.http.post("/tokens", json={})):
        assert answer.status_code == 200
    assert {t.expires - t.created for t in fake.tokens.everything(ME)} == {timedelta(days=30)}


@pytest.mark.parametrize(
    ("body", "appcode"),
    [
        ({"expires_in": 59}, 30010),
        ({"expires_in": -1}, 30010),
        ({"expires_in": "30d"}, 30010),
        ({"expires_in": 10**12}, 30001),
        ({"name": ""}, 30010),
        ({"name": "x" * 101}, 30010),
        ({"name": "a\nb"}, 30010),
        ({"name": 7}, 30010),
        ({"user": "bob"}, 30010),
        ({"role": "admin"}, 30010),
        ([], 30010),
    ],
)
def test_each_mistake_in_the_wish_is_told(fake: FakeGateway, body: object, appcode: int) -> None:
    answer = fake.http.post("/tokens", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["appcode"] == appcode
    assert fake.tokens.everything(None) == []


def test_an_admin_makes_lists_and_ends_the_tokens_of_others(fake_admin: FakeGateway) -> None:
    http = fake_admin.http
    made = http.post("/admin/tokens", json={"user": "robot", "name": "nightly"}).json()
    assert (made["user"], made["created_by"]) == ("robot", ME)
    with fake_admin.over_tcp(made["token"]) as robot:
        me = robot.get("/whoami").json()
        assert (me["user"], me["roles"]) == ("robot", ["user"])
        assert [t["id"] for t in http.get("/admin/tokens?user=robot").json()["tokens"]] == [
            made["id"]
        ]
        assert http.get("/tokens").json() == {"tokens": []}
        assert http.delete(f"/tokens/{made['id']}").status_code == 404
        assert http.delete(f"/admin/tokens/{made['id']}").status_code == 204
        assert robot.get("/whoami").status_code == 401
    assert http.post("/admin/tokens", json={}).json()["error"]["appcode"] == 30010
    assert http.post("/admin/tokens", json={"user": "../x"}).json()["error"]["appcode"] == 10040


def test_a_revoked_token_is_refused_at_once_on_an_open_connection(fake: FakeGateway) -> None:
    text = fake.token()
    with fake.over_tcp(text) as http:
        assert http.get("/whoami").status_code == 200
        assert http.delete(f"/tokens/{text.split('_')[1]}").status_code == 204
        answer = http.get("/whoami")
        assert answer.status_code == 401
        assert "was revoked" in answer.json()["error"]["message"]
        assert answer.headers["www-authenticate"] == 'Bearer realm="cts", error="invalid_token"'


def test_the_role_is_that_of_the_configuration_at_the_time_of_use(
    fake: FakeGateway, fake_admin: FakeGateway
) -> None:
    with fake.over_tcp(fake.token()) as http:
        assert http.get("/whoami").json()["roles"] == ["user"]
    with fake_admin.over_tcp(fake_admin.token()) as http:
        assert http.get("/whoami").json()["roles"] == ["admin"]


def test_the_users_groups_are_those_of_the_machine_and_a_stranger_has_none(
    fake: FakeGateway,
) -> None:
    from gateway.api.directory import Directory

    me = pwd.getpwuid(os.getuid())
    uid, groups = Directory().named(ME)
    assert (uid, groups >= {grp.getgrgid(me.pw_gid).gr_name}) == (me.pw_uid, True)
    with fake.over_tcp(fake.token("no-such-user")) as http:
        assert http.get("/whoami").json()["user"] == "no-such-user"


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer a"), ("Authorization", "Bearer a")],
        [("Authorization", "")],
        [("Authorization", "Bearer a b")],
        [("Authorization", "Bearer \u00e9")],
        [("Authorization", 'Bearer "a"')],
        [("Authorization", "Token a")],
    ],
)
def test_a_header_that_is_not_as_it_must_be_is_told_so_and_not_repeated(
    fake: FakeGateway, headers: list[tuple[str, str]]
) -> None:
    with fake.over_tcp() as http:
        answer = http.get(
            "/whoami", headers=[(name.encode(), value.encode()) for name, value in headers]
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["appcode"] == 10030
    assert answer.headers["www-authenticate"] == 'Bearer realm="cts", error="invalid_request"'


def test_the_scheme_is_read_in_any_case(fake: FakeGateway) -> None:
    text = fake.token()
    with fake.over_tcp() as http:
        for scheme in ("bearer", "BEARER", "Bearer "):
            answer = http.get("/whoami", headers={"Authorization": f"{scheme} {text}"})
            assert answer.status_code == 200


def test_a_database_that_does_not_answer_is_503_and_counts_as_no_wrong_token(
    fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = fake.token()

    def away() -> None:
        raise StoreError("away")

    with fake.over_tcp(text) as http:
        monkeypatch.setattr(fake.database, "read", away)
        assert [http.get("/whoami").status_code for _ in range(12)] == [503] * 12
        monkeypatch.undo()
        assert http.get("/whoami").status_code == 200


def test_no_token_is_in_the_log_whatever_is_done_with_it(fake: FakeGateway) -> None:
    text = fake.http.post("/tokens").json()["token"]
    secret = text.rpartition("_")[2]
    with fake.over_tcp(text) as http:
        http.get("/whoami")
        http.get(f"/whoami?token={text}")
        http.get(f"/{text}")
        http.delete(f"/tokens/{text}")
        http.get("/jobs/77", headers={"X-Token": text})
        http.post("/jobs", json={"token": text})
        http.delete(f"/tokens/{text.split('_')[1]}")
        http.get("/whoami")
        http.get("/whoami", headers=bearer(text[:-1]))
        http.get("/whoami", headers={"Authorization": text})
    assert fake.log.events("api.request")
    assert secret not in fake.log.text
    rows = [
        f"{row.user} {row.origin} {row.target} {row.result}" for row in fake.audits("token.use")
    ]
    assert rows
    assert secret not in str(rows)


def test_the_log_has_the_address_of_a_request_over_tcp(fake: FakeGateway) -> None:
    with fake.over_tcp() as http:
        http.get("/whoami")
    fake.http.get("/jobs/99")
    until(lambda: len(fake.log.events("api.request")) == 2)  # written when the answer is out
    first, second = fake.log.events("api.request")
    assert (first["address"], first["status"], first["user"]) == ("127.0.0.1", 401, None)
    assert "address" not in second
