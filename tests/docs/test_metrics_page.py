"""docs/metrics.md, the alerts and the dashboard speak of the metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from gateway.daemon.metrics import Metrics
from gateway.store.db import Database
from tests.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/metrics.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((CHECKOUT / "deploy/prometheus/cts.rules.yml").read_text(encoding="utf-8"))
DASHBOARD = (CHECKOUT / "deploy/grafana/cts.json").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(cts_\w+)` \| (.*?) \| .+ \|$", re.MULTILINE)
_ENDINGS = re.compile(r"_(bucket|count|sum)$")


def known(folder: Path) -> dict[str, set[str]]:
    """The labels of each metric, by its name on the page."""
    database = Database(f"sqlite:///{folder}/cts.db")
    database.migrate()
    metrics = Metrics()
    metrics.watch_database(database)
    found: dict[str, set[str]] = {}
    for collector in set(metrics.registry._collector_to_names):
        described = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            samples = {key for sample in family.samples for key in sample.labels}
            found[name] = set(described or samples)
    found |= {  # of which an empty database has none
        "cts_jobs": {"site", "phase"},
        "cts_queued_containers": {"site"},
        "cts_queue_oldest_seconds": {"site"},
    }
    database.close()
    return {name: labels for name, labels in found.items() if name.startswith("cts_")}


def test_the_page_has_each_metric_with_its_labels(tmp_path: Path) -> None:
    rows = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in _ROW.findall(PAGE)}
    assert rows == known(tmp_path)


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(tmp_path: Path) -> None:
    names = set(known(tmp_path))
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    expressions = [rule["expr"] for rule in rules]
    panels = json.loads(DASHBOARD)["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {
        _ENDINGS.sub("", name) for text in expressions for name in re.findall(r"cts_\w+", text)
    }
    assert asked <= names
    assert names - asked == {"cts_build_info"}


def test_the_page_says_what_to_do_about_each_alert() -> None:
    alerts = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| `(Cts\w+)` \| .+ \| .+ \|$", PAGE, re.MULTILINE) == alerts


def test_the_dashboards_panels_lie_side_by_side() -> None:
    panels = json.loads(DASHBOARD)["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
    assert all(panel["title"] and panel["targets"] for panel in panels)
