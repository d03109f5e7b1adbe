"""Every route of the table, for every kind of caller, on the Unix socket and over TLS."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from pydantic import TypeAdapter

from gateway.api.routes import ROUTES, Access, Route
from gateway.jobs.caller import Caller
from tests.api.asking import body_of, name_of, prepared, url_of
from tests.api.gateway_fake import ME, FakeGateway

MAKES_TOKENS = ("POST /tokens", "POST /admin/tokens")
OF_SOMEBODY = ("/jobs/{job_id}", "/tokens/{token_id}", "/webhooks/{webhook_id}", "/requests/{")


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def wrong(fake: FakeGateway) -> Mapping[str, tuple[dict[str, str], int]]:
    """Headers that identify nobody, and the appcode that each is refused with."""
    expired, revoked = fake.token(expires_in=60), fake.token()
    fake.tokens.revoke(Caller(ME, 0, frozenset(), False, ""), revoked.split("_")[1])
    fake.time += fake.time.resolution * 61_000_000
    right = fake.token()
    forged = right[:-1] + ("0" if right[-1] != "0" else "1")
    return {
        "no token": ({}, 10010),
        "another scheme": ({"Authorization": "Basic YTpi"}, 10030),
        "no token in the header": ({"Authorization": "Bearer"}, 10030),
        "the id alone": (bearer(right.rpartition("_")[0]), 10020),
        "another secret": (bearer(forged), 10020),
        "expired": (bearer(expired), 10020),
        "revoked": (bearer(revoked), 10020),
    }


def ask(
    http: httpx.Client, route: Route, fake: FakeGateway, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Ask for a route."""
    return http.request(route.method, url_of(route, fake), json=body_of(route), headers=headers)


def refused(answer: httpx.Response, status: int, appcode: int, what: str = "") -> None:
    """Check an answer that refuses."""
    error = answer.json()["error"]
    assert (answer.status_code, error["appcode"]) == (status, appcode), (what, error)
    assert error["request_id"] == answer.headers["x-request-id"]


def answered(answer: httpx.Response, route: Route) -> None:
    """Check an answer that serves."""
    assert answer.status_code == route.status, answer.text
    assert answer.headers["x-request-id"]
    if route.model is not None:
        TypeAdapter(route.model).validate_python(answer.json())


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_on_the_socket_a_user_may_use_every_route_but_those_of_admins(
    fake: FakeGateway, route: Route
) -> None:
    answer = ask(prepared(fake).http, route, fake)
    if route.access in (Access.ADMIN, Access.NODE):
        refused(answer, 403, 20000)
    else:
        answered(answer, route)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_on_the_socket_an_admin_may_use_every_route(fake_admin: FakeGateway, route: Route) -> None:
    answer = ask(prepared(fake_admin).http, route, fake_admin)
    if route.access is Access.NODE:
        refused(answer, 403, 20000)
    else:
        answered(answer, route)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.access is Access.USER], ids=name_of)
def test_on_the_socket_a_token_says_nothing_for_the_kernel_says_who_asks(
    fake: FakeGateway, route: Route
) -> None:
    for headers in ({"Authorization": "Basic x"}, bearer("wrong"), bearer(fake.token("bob"))):
        prepared(fake)
        assert ask(fake.http, route, fake, headers).status_code == route.status


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_over_tcp_who_is_not_identified_gets_the_open_routes_alone(
    fake: FakeGateway, route: Route
) -> None:
    prepared(fake)
    with fake.over_tcp() as http:
        for what, (headers, appcode) in wrong(fake).items():
            answer = ask(http, route, fake, headers)
            if route.access is Access.OPEN:
                answered(answer, route)
            else:
                refused(answer, 401, appcode, what)
                assert answer.headers["www-authenticate"].startswith('Bearer realm="cts"')
    assert fake.jobs.calls == []


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_over_tcp_a_users_token_opens_what_the_user_may_but_makes_no_tokens(
    fake: FakeGateway, route: Route
) -> None:
    prepared(fake)
    with fake.over_tcp(fake.token()) as http:
        answer = ask(http, route, fake)
    if route.access is Access.ADMIN or name_of(route) in MAKES_TOKENS:
        refused(answer, 403, 20000)
    elif route.access is Access.NODE:
        refused(answer, 401, 10020)
    else:
        answered(answer, route)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_over_tcp_another_users_token_opens_nothing_that_is_somebody_elses(
    fake: FakeGateway, route: Route
) -> None:
    prepared(fake)
    with fake.over_tcp(fake.token("bob")) as http:
        answer = ask(http, route, fake)
    if route.access is Access.ADMIN or name_of(route) in MAKES_TOKENS:
        refused(answer, 403, 20000)
    elif route.access is Access.NODE:
        refused(answer, 401, 10020)
    elif route.path.startswith(OF_SOMEBODY):
        refused(answer, 404, 40040 if "job" in route.path else 40000)
    else:
        answered(answer, route)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_over_tcp_an_admins_token_opens_every_route_but_makes_no_tokens(
    fake_admin: FakeGateway, route: Route
) -> None:
    prepared(fake_admin)
    with fake_admin.over_tcp(fake_admin.token()) as http:
        answer = ask(http, route, fake_admin)
    if name_of(route) in MAKES_TOKENS:
        refused(answer, 403, 20000)
    elif route.access is Access.NODE:
        refused(answer, 401, 10020)
    else:
        answered(answer, route)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_over_tcp_the_token_of_a_job_opens_the_route_of_its_nodes_alone(
    fake: FakeGateway, route: Route
) -> None:
    prepared(fake)
    with fake.over_tcp(fake.nodes.token(1)) as http:
        answer = ask(http, route, fake)
    if route.access in (Access.OPEN, Access.NODE):
        answered(answer, route)
    else:
        refused(answer, 401, 10020)
    assert fake.jobs.calls == []


def test_what_is_asked_for_is_not_looked_at_before_it_is_known_who_asks(fake: FakeGateway) -> None:
    with fake.over_tcp() as http:
        for method, path, body in (
            ("POST", "/jobs?nonsense=1", b"{"),
            ("POST", "/admin/images/x", b"{"),
            ("POST", "/tokens", b"[" * 1000),
            ("GET", "/jobs/abc", b""),
        ):
            refused(http.request(method, path, content=body), 401, 10010, path)


def test_head_is_answered_over_tcp_too(fake: FakeGateway) -> None:
    with fake.over_tcp(fake.token()) as http:
        for path, status in (("/", 200), ("/whoami", 200), ("/jobs/77", 404)):
            answer = http.head(path)
            assert (answer.status_code, answer.content) == (status, b"")
            assert answer.headers["x-request-id"]
    with fake.over_tcp() as http:
        assert http.head("/").status_code == 200
        assert http.head("/whoami").status_code == 401


def test_readiness_tells_strangers_no_names_of_hosts_and_paths(fake: FakeGateway) -> None:
    assert fake.http.get("/ready").json()["checks"][0]["detail"] == "2 ms"
    with fake.over_tcp() as http:
        assert http.get("/ready").json() == {
            "ready": True,
            "checks": [{"name": "s3", "ok": True, "detail": ""}],
        }


def test_openapi_says_which_routes_need_a_token(fake: FakeGateway) -> None:
    with fake.over_tcp() as http:
        schema = http.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for route in (each for each in ROUTES if each.access is not Access.NODE):
        operation = schema["paths"][route.path.replace(":path", "")][route.method.lower()]
        wanted: object = None if route.access is Access.OPEN else [{"token": []}]
        assert operation.get("security") == wanted, name_of(route)
