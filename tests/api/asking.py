"""How to ask for each route of the table so that it answers: its address, and its body."""

from __future__ import annotations

from typing import Any

from gateway.api.routes import Route
from gateway.jobs.caller import Caller
from gateway.store.tables import RefdataSite
from tests.api.gateway_fake import JOB, ME, FakeGateway

CACHED = "sha256:" + "e" * 64
_BODIES: dict[str, Any] = {
    "POST /jobs": JOB,
    "POST /admin/tokens": {"user": "alice"},
    "POST /files": {
        "files": [{"file": "data/a.txt", "size": 6, "md5": "sZRqySSS0jR8YjW00mERhA=="}]
    },
    "POST /files/read": {"files": ["data/a.txt"]},
    "POST /webhooks": {"url": "https://hooks.example.org/"},
    "PUT /admin/jobs/{job_id}/meta": {"set_fields": {"ticket": "HPC-77"}},
    "PUT /jobs/{job_id}/share": {"users": ["bob"]},
    "POST /requests": {"kind": "image", "target": "ghcr.io/kbase/other:1.0"},
    "PUT /admin/requests/{request_id}/decline": {"reason": "no"},
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
    path = "reference-data/db.tar"
    if route.method == "POST" and "refdata" in route.path:
        path += "?force=true"  # it is registered already
    known = fake.refdata.everything()
    hooks = fake.happenings.webhooks.mine(me)
    if route.path == "/events":
        path = "/events?follow=false"  # else it has no end
    return (
        (path if route.path == "/events" else route.path)
        .replace("{job_id}", "1")
        .replace("{webhook_id}", hooks[-1].id if hooks else "99")
        .replace("{path:path}", path)
        .replace("{refdata_id}", known[-1].id if known else "1")
        .replace("{cluster}", "dev")
        .replace("{site}", "dev")
        .replace("{digest}", CACHED)
        .replace("{number}", "0")
        .replace("{stream}", "stdout")
        .replace("{name:path}", "ghcr.io/kbase/checksum:1.0")
        .replace("{request_id}", request_of(fake))
        .replace("{token_id}", tokens[-1].id if tokens else "0" * 12)
    )


def request_of(fake: FakeGateway) -> str:
    """The id of the last request that somebody made."""
    known = fake.requests.everything(None, None)
    return known[0].id if known else "1"


def prepared(fake: FakeGateway) -> FakeGateway:
    """A job 1 of two containers with a log, and a token, of the user who runs the tests; reference data that failed."""
    job = fake.jobs.add()
    fake.jobs.rows[job].logs[0, "stdout"] = b"hello\n"
    fake.token()
    fake.happenings.webhooks.add(
        Caller(ME, 0, frozenset(), False, ""),
        *("https://hooks.example.org/",),
        states=[],
        containers=False,
        secret=None,
    )
    sif = fake.work / "images" / f"{CACHED.replace(':', '-')}.sif"
    sif.parent.mkdir(exist_ok=True)
    sif.write_bytes(b"sif")
    fake.store.put("reference-data/db.tar")
    ada = Caller("ada", 0, frozenset(), True, "")
    me = Caller(ME, 0, frozenset(), False, "")
    fake.requests.ask(me, "image", "ghcr.io/kbase/wanted:1.0", unpack=False, note="for bins")
    data = fake.refdata.register(
        ada, "reference-data/db.tar", crc64nvme=None, unpack=True, force=True
    )
    with fake.database.write() as session:
        session.add(RefdataSite(refdata_id=int(data.id), site="dev", state="error"))
    return fake
