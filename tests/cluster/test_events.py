"""Events on the real site: cts watch, the stream over TLS with a token, signed webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
from typing import Any

import pytest

from tests.conftest import DevCluster
from tests.daemon.receiver import Received, Receiver, receiving

pytestmark = pytest.mark.cluster


def _watch(site: DevCluster, *words: str, user: str = "alice") -> subprocess.Popen[str]:
    tool = ("deploy/devcluster", *site.options, "exec", "--user", user, "--")
    return subprocess.Popen([*tool, "cts", "watch", *words], stdout=subprocess.PIPE, text=True)


def _add(site: DevCluster, receiver: Receiver, *options: str) -> tuple[str, str]:
    """Register a webhook of alice's; its id and its secret."""
    done = site.run("cts", "webhook", "add", receiver.url, *options, "--json")
    made = json.loads(done.stdout)
    return made["id"], made["secret"]


def _signed(request: Received, secret: str) -> bool:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stamp = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    wanted = base64.b64encode(hmac.new(key, stamp + request.raw, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"] == f"v1,{wanted}"


def _of(job_id: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["job_id"] == job_id]


def test_each_transition_comes_once_in_order_to_watchers_and_to_webhooks(site: DevCluster) -> None:
    image = site.image("checksum")
    with receiving() as receiver:
        hook, secret = _add(site, receiver, "--containers")
        bystander = _watch(site, "--json", user="bob")
        job_id = site.submit(image=image, num_containers=1)
        watching = _watch(site, job_id, "--json", "--containers")
        job = site.finish(job_id)
        seen = [json.loads(line) for line in (watching.stdout or ()) if line.strip()]
        assert watching.wait(60) == 0  # it ends with the job
        history = [row["phase"] for row in job["transition_times"]]
        assert [event["phase"] for event in seen if event["container"] is None] == history
        assert [event["id"] for event in seen] == sorted({event["id"] for event in seen}, key=int)
        assert {event["container"] for event in seen} == {None, 0}

        def arrived() -> list[Received]:
            return [r for r in receiver.requests if r.body["data"].get("job_id") == job_id]

        site.until(lambda: len(arrived()) >= len(seen))
        assert [request.body["data"] for request in arrived()] == seen
        assert all(_signed(request, secret) for request in receiver.requests)

        # An admin has the end sent once more, with the id that it had.
        site.run("cts", "admin", "job", "notify", job_id, "--state", "complete", user="ada")
        site.until(lambda: len(arrived()) == len(seen) + 1)
        assert arrived()[-1].headers["webhook-id"] == seen[-1]["id"]
        listed = json.loads(site.run("cts", "webhook", "list", "--json").stdout)
        (mine,) = [row for row in listed if row["id"] == hook]
        assert mine["state"] == "active"
        assert "secret" not in mine
        assert hook not in site.run("cts", "webhook", "list", user="bob").stdout
        site.run("cts", "webhook", "delete", hook)
        bystander.kill()
        assert job_id not in (bystander.communicate()[0] or "")


def test_the_stream_over_tls_resumes_after_the_last_event_and_is_for_ones_own_jobs(
    site: DevCluster,
) -> None:
    job_id = site.submit(image=site.image("checksum"))
    site.finish(job_id)
    facts = json.loads(site.tool("env").stdout)

    def asked(last: str, query: str, user: str) -> list[dict[str, Any]]:
        script = (
            'umask 077; t=$(mktemp); cts token create --expires 1h -o "$t" 2>/dev/null;'
            'sed "s/^/Authorization: Bearer /" "$t" | curl -s --cacert "$1" -H @- -H "Last-Event-ID: $2" "$3";'
            'cts token revoke $(cut -d _ -f 2 "$t"); rm "$t"'
        )
        url = f"{facts['url']}/events?follow=false{query}"
        ca = "/etc/ssl/devcluster/ca.pem"
        text = site.run("sh", "-c", script, "sh", ca, last, url, user=user).stdout
        lines = [line.removeprefix("data: ") for line in text.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    whole = asked("0", f"&job={job_id}", "alice")
    assert [event["phase"] for event in whole][-1] == "complete"
    third = whole[2]["id"]
    assert asked(third, f"&job={job_id}", "alice") == whole[3:]
    assert asked(third, f"&job={job_id}&state=complete", "alice") == whole[-1:]
    (refused,) = asked("0", f"&job={job_id}", "bob")
    assert refused["error"]["appcode"] == 40040
    (refused,) = asked("0", "&everyone=true", "bob")
    assert refused["error"]["appcode"] == 20000
    assert _of(job_id, asked(third, "&everyone=true", "ada"))[-1] == whole[-1]


def test_a_webhook_that_fails_gets_all_in_order_later_and_its_state_is_shown(
    site: DevCluster,
) -> None:
    with receiving() as receiver, receiving() as well:
        receiver.status = 500
        hook, _ = _add(site, receiver)
        other, _ = _add(site, well)
        job_id = site.submit(image=site.image("checksum"))
        job = site.finish(job_id)
        phases = [row["phase"] for row in job["transition_times"]]

        def told(who: Receiver) -> list[str]:
            data = [request.body["data"] for request in who.requests]
            return [row["phase"] for row in data if row.get("job_id") == job_id]

        site.until(lambda: told(well) == phases)  # the dead one holds it up in nothing
        assert "failing" in site.run("cts", "webhook", "list").stdout
        done = site.run("cts", "webhook", "test", hook, check=False)
        assert (done.returncode, "it answered 500" in done.stderr) == (1, True)
        receiver.status = 200
        assert site.run("cts", "webhook", "test", hook).stdout == "delivered\n"
        site.until(lambda: told(receiver) == phases)
        site.run("cts", "webhook", "delete", hook, other)


def test_a_webhook_may_point_at_hosts_that_the_configuration_names_alone(site: DevCluster) -> None:
    for url in ("http://169.254.169.254/latest/", "https://example.org/", "http://[::1]:6820/"):
        done = site.run("cts", "webhook", "add", url, check=False)
        assert done.returncode == 2, url
        assert "webhooks.allow_hosts" in done.stderr
