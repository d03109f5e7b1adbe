"""schemathesis asks for everything that /openapi.json describes, over TLS, as a user and as an admin: no 5xx, nothing outside the schema.

What it asks about cannot be another test's: job ids are that of one ended job or of none, sites and tokens are none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.remote import Remote, make

pytestmark = pytest.mark.cluster
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


def bounded(schema: dict[str, Any], values: dict[str, list[Any] | None]) -> dict[str, Any]:
    """Have path parameters take these values alone (None: any), where something is deleted the last. Streams without an end are left out."""
    for path, calls in list(schema["paths"].items()):
        for method, call in list(calls.items()):
            contents = [answer.get("content", {}) for answer in call["responses"].values()]
            if any("text/event-stream" in content for content in contents):
                del calls[method]
                continue
            for parameter in call.get("parameters", ()):
                if parameter["in"] != "path":
                    continue
                name = parameter["name"]
                assert name in values, f"{path}: say which {name} this test may ask about"
                given = values[name]
                if method == "delete" and given is not None:
                    given = given[-1:]  # what is not there: others use what is
                if given is not None:
                    parameter["schema"] = {"enum": given}
                    parameter.pop("examples", None)
                    parameter.pop("example", None)
        if not calls:
            del schema["paths"][path]
    return schema


def _forget_webhooks(site: DevCluster, who: str) -> None:
    """Delete those that were made, to URLs of all kinds: each would be tried again and again."""
    webhooks = json.loads(site.run("cts", "webhook", "list", "--json", user=who).stdout)
    for webhook in webhooks:
        site.run("cts", "webhook", "delete", webhook["id"], user=who)


@pytest.mark.parametrize("who", ["alice", "ada"])
def test_nothing_that_the_schema_allows_makes_a_5xx_or_an_answer_outside_it(
    site: DevCluster, tmp_path: Path, who: str
) -> None:
    remote = Remote.of(site, tmp_path)
    image = site.image("checksum")
    job = site.submit(user=who, image=image)
    site.finish(job, user=who)
    with remote.http() as http:
        schema = http.get("/openapi.json").json()
    (tmp_path / "openapi.json").write_text(
        json.dumps(
            bounded(
                schema,
                {
                    "job_id": [job, "999999999999"],
                    "number": [0, 7],
                    "stream": None,
                    # These are looked up in the site's own registry, and not on the internet.
                    "name": [image, f"{site.registry}/test/none:1"],
                    "path": ["sample-data/none.tar"],
                    "refdata_id": ["999999999"],
                    "cluster": ["none"],
                    "digest": ["sha256:" + "0" * 64],
                    "site": ["none"],
                    "token_id": ["0" * 12],
                    "request_id": ["999999999"],
                    "webhook_id": ["999999999"],
                },
            )
        )
    )
    public, token = make(site, who)
    (tmp_path / "schemathesis.toml").write_text(
        f'headers = {{ Authorization = "Bearer {token}" }}\n'
    )
    (tmp_path / "schemathesis.toml").chmod(0o600)
    side = "--exclude-path-regex" if who == "alice" else "--include-path-regex"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", "openapi.json"),
            *("--url", remote.url, "--tls-verify", str(remote.ca), side, "^/admin/"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "4", "--seed", "1", "--generation-database", "none", "--no-shrink"),
            # One worker: the parser of Python before 3.11.9 miscounts its depth under two threads (gh-106905).
            *("--continue-on-failure", "--no-color", "--workers", "1", "--request-timeout", "60"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    site.run("cts", "token", "revoke", public, user=who)
    _forget_webhooks(site, who)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert site.job(job, user=who)["state"] == "complete"
