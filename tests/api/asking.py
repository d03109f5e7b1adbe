"""How to ask for each route of the table so that it answers: its address, and its body."""

from __future__ import annotations

from typing import Any

from gateway.api.routes import Route
from gateway.jobs.caller import Caller
from tests.api.gateway_fake import JOB, ME, FakeGateway

_BODIES: dict[str, Any] = {
    "POST /jobs": JOB,
    "POST /admin/tokens": {"user": "alice"},
}


def name_of(route: Route) -> str:
    """Name a route in a test's id."""
    return f"{route.method} {route.path}"


def body_of(route: Route) -> Any:
    """The body that it needs, None for none."""
    return _BODIES.get(name_of(route))


def url_of(route: Route, fake: FakeGateway) -> str:
    """Its address, of things that `prepared` has put there."""
    me = Caller(ME, 0, frozenset(), False, "")
    tokens = fake.tokens.mine(me)
    return (
        route.path.replace("{job_id}", "1")
        .replace("{number}", "0")
        .replace("{stream}", "stdout")
        .replace("{name:path}", "ghcr.io/kbase/checksum:1.0")
        .replace("{token_id}", tokens[-1].id if tokens else "0" * 12)
    )


def prepared(fake: FakeGateway) -> FakeGateway:
    """A job 1 of two containers with a log, and a token, of the user who runs the tests."""
    job = fake.jobs.add()
    fake.jobs.rows[job].logs[0, "stdout"] = b"hello\n"
    fake.token()
    return fake
