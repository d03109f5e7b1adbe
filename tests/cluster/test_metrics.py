"""Metrics on the real site: what a job leaves in them, and a real Prometheus that scrapes them, over TLS, with our rules and dashboard."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import CHECKOUT, DevCluster
from tests.remote import Remote, make

pytestmark = pytest.mark.cluster
RULES = ("cts.rules.yml", "cts.rules.test.yml")
DASHBOARD = json.loads((CHECKOUT / "deploy/grafana/cts.json").read_text(encoding="utf-8"))
# Of these there may be nothing to show: no call fails, nothing waits.
MAY_BE_EMPTY = (
    "Jobs under way",
    "Containers that Slurm has not got yet",
    "Oldest job that waits for Slurm",
    "Calls to Slurm without an answer, a second",
)
SAMPLE = "sample-data/reads/sample-2.txt"


def metrics(site: DevCluster) -> Callable[..., float]:
    """Ask now; returns what finds the sum of the samples of a name that have those labels."""
    text = site.run("curl", "-s", "--unix-socket", "/run/cts/cts.sock", "http://cts/metrics").stdout
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def total(name: str, **labels: str) -> float:
        return sum(
            s.value for s in samples if s.name == name and labels.items() <= s.labels.items()
        )

    return total


def test_what_a_job_did_is_in_them(site: DevCluster) -> None:
    before = metrics(site)
    job = site.finish(site.submit(image=site.image("checksum"), input_files=[SAMPLE]))
    assert job["state"] == "complete", job["error"]
    after = metrics(site)

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert more("cts_slurm_call_seconds_count", site="dev", call="submit", outcome="ok") >= 1
    assert more("cts_grant_seconds_count", site="dev", road="mailbox") >= 2
    assert more("cts_staged_bytes_total", site="dev", direction="in") > 0
    assert more("cts_staged_bytes_total", site="dev", direction="out") > 0
    complete = {"site": "dev", "phase": "complete"}
    site.until(lambda: metrics(site)("cts_jobs", **complete) > before("cts_jobs", **complete))
    assert more("cts_s3_call_seconds_count", store="s3", call="HeadObject", status="200") >= 1
    assert more("cts_http_request_seconds_count", route="/jobs", method="POST", status="200") >= 1
    assert more("cts_loop_seconds_count", loop="poll", site="dev", outcome="ok") >= 1
    assert more("cts_database_seconds_count", kind="lock") >= 1
    assert after("process_resident_memory_bytes") > 1 << 20


@pytest.fixture(scope="module")
def folder(site: DevCluster) -> Iterator[str]:
    """A directory of ada's in the site, with the rules."""
    path = f"/tmp/prometheus-{uuid.uuid4().hex[:8]}"
    site.run("mkdir", "-m", "700", path, user="ada")
    for name in RULES:
        text = (CHECKOUT / "deploy/prometheus" / name).read_text(encoding="utf-8")
        _put(site, f"{path}/{name}", text)
    yield path
    site.run("rm", "-rf", path, user="ada")


def _put(site: DevCluster, path: str, text: str) -> None:
    site.run("sh", "-c", 'umask 077; cat > "$1"', "sh", path, user="ada", text=text)


def test_the_rules_are_right_by_prometheus_own_tool(site: DevCluster, folder: str) -> None:
    rules, tests = (f"{folder}/{name}" for name in RULES)
    check = ("promtool", "check", "rules", "--lint=all", "--lint-fatal", rules)
    assert "SUCCESS: 8 rules found" in site.run(*check, user="ada").stdout
    assert "SUCCESS" in site.run("promtool", "test", "rules", tests, user="ada").stdout
    broken = (CHECKOUT / "deploy/prometheus" / RULES[0]).read_text(encoding="utf-8")
    _put(site, f"{rules}.broken", broken.replace("> 600", "> > 600"))
    assert (
        site.run(*check[:-1], f"{rules}.broken", user="ada", check=False).returncode != 0
    )  # it would say so


def test_the_text_is_right_by_prometheus_own_tool(site: DevCluster) -> None:
    fetch = "curl -s --unix-socket /run/cts/cts.sock http://cts/metrics | promtool check metrics"
    done = site.run("sh", "-c", fetch, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    http: httpx.Client

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now."""
        answer = self.http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@contextmanager
def prometheus(site: DevCluster, folder: str, remote: Remote, token: str) -> Iterator[Prometheus]:
    """Run one in the site that scrapes the gateway, as docs/metrics.md has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = (CHECKOUT / "docs/metrics.md").read_text(encoding="utf-8")
    example = re.search(
        r"^```yaml prometheus\n(scrape_configs:.*?)^```$", page, re.DOTALL | re.MULTILINE
    )
    assert example is not None
    text = example[1]
    for what, by in (
        ("/etc/prometheus/cts.token", f"{folder}/token"),
        ("/etc/prometheus/cts-ca.pem", remote.ca_inside),
        ("cts.example.org:8443", remote.url.removeprefix("https://")),
        ("/etc/prometheus/cts.rules.yml", f"{folder}/{RULES[0]}"),
    ):
        assert what in text
        text = text.replace(what, by)
    _put(site, f"{folder}/token", token)
    _put(site, f"{folder}/prometheus.yml", "global: {scrape_interval: 1s}\n" + text)
    config = f"--config.file={folder}/prometheus.yml"
    process = subprocess.Popen(
        [
            *(str(CHECKOUT / "deploy/devcluster"), *site.options, "exec", "--user", "ada", "--"),
            *("prometheus", config, f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
            yield Prometheus(http)
    finally:
        site.run("pkill", "-f", "--", config, user="ada", check=False)
        process.wait(60)


def test_a_prometheus_scrapes_it_with_a_users_token_and_the_dashboard_shows_all(
    site: DevCluster, folder: str, tmp_path: Path
) -> None:
    public, token = make(site, "bob")  # who has no rights of an admin
    remote = Remote.of(site, tmp_path)
    with prometheus(site, folder, remote, token) as running:

        def scraped() -> bool:
            try:
                return [row["value"][1] for row in running.ask('up{job="cts"}')] == ["1"]
            except httpx.TransportError:
                return False

        site.until(scraped)
        job = site.finish(site.submit(image=site.image("checksum"), input_files=[SAMPLE]))
        assert job["state"] == "complete", job["error"]
        site.until(lambda: running.ask('delta(cts_jobs{phase="complete"}[5m]) > 0') != [])
        for panel in DASHBOARD["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for name, value in (
                    ("$__rate_interval", "1m"),
                    ("$instance", ".*"),
                    ("$site", ".*"),
                ):
                    expression = expression.replace(name, value)
                assert "$" not in expression
                found = running.ask(expression)
                assert found or panel["title"] in MAY_BE_EMPTY, panel["title"]
        rules = running.http.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
        assert len(rules) == 8
        assert {rule["lastError"] for rule in rules if "lastError" in rule} <= {""}
        variables = DASHBOARD["templating"]["list"][1:]
        for query in (each["query"]["query"] for each in variables):
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
            assert match is not None
            assert any(match[2] in row["metric"] for row in running.ask(match[1]))
    site.run("cts", "token", "revoke", public, user="bob")
