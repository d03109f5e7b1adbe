"""What the daemon counts of itself, as Prometheus reads it; docs/metrics.md says what each is for.

No label has a user's words in it: their values are the configuration's, the program's own, or numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway import __version__, commit
from gateway.daemon.loops import Loop
from gateway.errors import StoreError
from gateway.s3.client import ObjectStore
from gateway.store.counts import jobs_by_phase, waiting
from gateway.store.db import Database
from gateway.store.jobs import now

log = structlog.get_logger()
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_KEPT = 5.0  # seconds for which the jobs that were counted serve
_BEGUN = "cts_begun"  # where a call's beginning is kept in what botocore carries along with it


class Metrics:
    """All of them, of one daemon. Thread-safe."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("cts_build", "The gateway that runs", registry=registry).info(
            {"version": __version__, "commit": commit()}
        )

        def histogram(
            name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
        ) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self._loop = histogram(
            "cts_loop_seconds", "Rounds of the daemon's loops", ("loop", "site", "outcome"), _SLOW
        )
        self._wait = Gauge(
            "cts_loop_period_seconds",
            "How long a loop waits after a round, unless it is woken",
            ("loop", "site"),
            registry=registry,
        )
        self._success = Gauge(
            "cts_loop_last_success_timestamp_seconds",
            "When a loop's last round without trouble ended",
            ("loop", "site"),
            registry=registry,
        )
        self._slurm = histogram(
            "cts_slurm_call_seconds", "What Slurm was asked", ("site", "call", "outcome"), _SLOW
        )
        self._s3 = histogram(
            "cts_s3_call_seconds", "What the daemon asked object stores", ("store", "call", "status"), _QUICK
        )  # fmt: skip
        self._database = histogram(
            "cts_database_seconds", "Waits of writers for each other, commits, and sessions that read", ("kind",), _QUICK
        )  # fmt: skip
        self._grant = histogram(
            "cts_grant_seconds", "From a node's request until its answer is there", ("site", "road"), _QUICK
        )  # fmt: skip
        self._request = histogram(
            "cts_http_request_seconds", "Requests to the gateway", ("method", "route", "status"), _QUICK
        )  # fmt: skip
        self._bytes = Counter(
            "cts_staged_bytes",
            "Bytes that containers which have ended got from S3 (in) and put there (out)",
            ("site", "direction"),
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def watch_database(self, database: Database) -> None:
        """Measure what the database is asked, and count its jobs whenever somebody looks."""
        kinds = {kind: self._database.labels(kind) for kind in ("lock", "commit", "read")}
        database.on_time = lambda kind, seconds: kinds[kind].observe(seconds)
        self.registry.register(_Jobs(database))

    def watch_store(self, name: str, objects: ObjectStore) -> None:
        """Measure the calls to an object store; "" is that of [s3] itself. Making presigned URLs is none."""
        label = name or "s3"
        events = objects.store(name).client.meta.events

        def ends(status: object, model: Any, context: dict[str, Any]) -> None:
            seconds = time.monotonic() - context.get(_BEGUN, time.monotonic())
            self._s3.labels(label, model.name, str(status)).observe(seconds)

        def begins(model: Any, context: dict[str, Any], **_: object) -> None:
            context[_BEGUN] = time.monotonic()
            context[f"{_BEGUN}_model"] = model

        def answered(http_response: Any, model: Any, context: dict[str, Any], **_: object) -> None:
            ends(http_response.status_code, model, context)

        def failed(context: dict[str, Any], **_: object) -> None:
            ends("none", context[f"{_BEGUN}_model"], context)

        events.register("before-call.s3", begins)
        events.register("after-call.s3", answered)
        events.register("after-call-error.s3", failed)

    def watch_loop(self, loop: Loop) -> None:
        """Measure a loop's rounds."""
        name, _, site = loop.name.partition(":")

        def ended(seconds: float, wait: float) -> None:
            well = loop.last_error is None
            self._loop.labels(name, site, "ok" if well else "trouble").observe(seconds)
            self._wait.labels(name, site).set(wait)
            if well and loop.last_success is not None:
                self._success.labels(name, site).set(loop.last_success)

        loop.on_round = ended

    @contextmanager
    def slurm(self, site: str, call: str) -> Iterator[None]:
        """Measure a call to Slurm; its outcome is `ok` or the kind of the error."""
        begin, outcome = time.monotonic(), "ok"
        try:
            yield
        except Exception as exc:
            outcome = _OUTCOMES.get(type(exc).__name__, "no answer")
            raise
        finally:
            self._slurm.labels(site, call, outcome).observe(time.monotonic() - begin)

    def granted(self, site: str, road: str, seconds: float) -> None:
        """Note that a node's request was answered; `road` is mailbox or tls."""
        self._grant.labels(site, road).observe(seconds)

    def ended(self, site: str, result: Mapping[str, Any]) -> None:
        """Note what a container has moved that has ended: `bytes_in` and `bytes_out` of what its node wrote of it."""
        for direction in ("in", "out"):
            self._bytes.labels(site, direction).inc(result.get(f"bytes_{direction}", 0))

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request to the gateway; `route` is as the table of routes has it, status 0 where nothing was answered."""
        self._request.labels(method, route, str(status)).observe(seconds)


_OUTCOMES = {"SubmitRefusedError": "refused", "SubmitLaterError": "later"}


class _Jobs(Collector):
    """Jobs and what waits, as the database has them when Prometheus asks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at = -_KEPT
        self._last: list[GaugeMetricFamily] = []

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: what there is, is not known before it is asked for."""
        return []

    def collect(self) -> list[GaugeMetricFamily]:
        """Count, unless it was done a moment ago; nothing while the database does not answer, for the rest is still wanted."""
        if time.monotonic() - self._at >= _KEPT:
            try:
                self._last = self._count()
            except StoreError as exc:
                log.warning("metrics.no_jobs", error=str(exc))
                self._last = []
            self._at = time.monotonic()
        return self._last

    def _count(self) -> list[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("cts_jobs", "Jobs in the database", labels=("site", "phase"))
        queued = GaugeMetricFamily(
            "cts_queued_containers", "Containers that Slurm has not got yet", labels=("site",)
        )
        oldest = GaugeMetricFamily(
            "cts_queue_oldest_seconds", "Age of the oldest job that has such containers", labels=("site",)
        )  # fmt: skip
        with self._database.read() as session:
            for (site, phase), number in sorted(jobs_by_phase(session).items()):
                jobs.add_metric((site, phase), number)
            for site, row in sorted(waiting(session).items()):
                queued.add_metric((site,), row.containers)
                oldest.add_metric((site,), max(0.0, (now() - row.oldest).total_seconds()))
        return [jobs, queued, oldest]
